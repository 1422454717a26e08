// The rows of logits: normalising them, and writing weighted softmax rows.
#ifndef CTC_SOFTMAX_H_
#define CTC_SOFTMAX_H_

#include "wide.h"

namespace ctc {

// log softmax(x)[v] = (x[v] - max) - log_rest. Two parts, because their sum would round away what a confident
// row says: at a probability of 1 - 1e-7 all of the logarithm lies in log_rest.
struct Normalizer {
  double max = 0, log_rest = 0;
};

template <class Scalar>
CTC_INLINE Normalizer normalizer(const Scalar* x, int64_t size) {
  Scalar max = x[0];
#pragma omp simd reduction(max : max)
  for (int64_t v = 0; v < size; ++v) max = larger(max, x[v]);
  Scalar rest = 0, at_max = 0;  // the sum of exp(x - max), without and with only those at the maximum
#pragma omp simd reduction(+ : rest, at_max)
  for (int64_t v = 0; v < size; ++v) {
    const Scalar d = x[v] - max;
    const Scalar y = exp_plain(d);
    rest += d == 0 ? 0 : y;
    at_max += d == 0 ? 1 : 0;
  }
  return {max, std::log1p(static_cast<double>(rest) + (static_cast<double>(at_max) - 1))};
}

// grad[v] = weight * softmax(x)[v]
template <class Scalar>
CTC_INLINE void softmax_row(const Scalar* __restrict x, int64_t size, Normalizer norm, Scalar weight,
                            Scalar* __restrict grad) {
  const Scalar max = static_cast<Scalar>(norm.max), log_rest = static_cast<Scalar>(norm.log_rest);
#pragma omp simd
  for (int64_t v = 0; v < size; ++v) grad[v] = weight * exp_plain((x[v] - max) - log_rest);
}

}  // namespace ctc

#endif  // CTC_SOFTMAX_H_
