// Softmax over rows of logits: the normaliser, and weighted softmax rows.
#pragma once

#include "wide.h"

namespace asr::ctc {

// log softmax(x)[v] = (x[v] - max) - log_rest. The two parts stay apart because their sum would lose the
// digits of a confident row: at a probability of 1 - 1e-7 the whole logarithm is in log_rest.
struct Normalizer {
  double max = 0, log_rest = 0;
};

template <class Scalar>
CTC_INLINE Normalizer FindNormalizer(const Scalar* x, int64_t size) {
  Scalar max = x[0];
#pragma omp simd reduction(max : max)
  for (int64_t v = 0; v < size; ++v) max = Max(max, x[v]);
  Scalar rest = 0, at_max = 0;  // sum of exp(x - max) over the elements below the maximum, and at it
#pragma omp simd reduction(+ : rest, at_max)
  for (int64_t v = 0; v < size; ++v) {
    const Scalar d = x[v] - max;
    const Scalar y = ExpPlain(d);
    rest += d == 0 ? 0 : y;
    at_max += d == 0 ? 1 : 0;
  }
  return {max, std::log1p(static_cast<double>(rest) + (static_cast<double>(at_max) - 1))};
}

// grad[v] = weight * softmax(x)[v]
template <class Scalar>
CTC_INLINE void WriteSoftmax(const Scalar* __restrict x, int64_t size, Normalizer norm, Scalar weight,
                             Scalar* __restrict grad) {
  const Scalar max = static_cast<Scalar>(norm.max), log_rest = static_cast<Scalar>(norm.log_rest);
#pragma omp simd
  for (int64_t v = 0; v < size; ++v) grad[v] = weight * ExpPlain((x[v] - max) - log_rest);
}

}  // namespace asr::ctc
