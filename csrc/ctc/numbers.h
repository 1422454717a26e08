// The two kinds of numbers that sum the paths of an acceptor.
//
// Scaled: eight utterances at a time as plain doubles, each row scaled so that its largest number is near 1.
//
// Exact: one utterance as Wide numbers, which have no limits.
//
// Scaled numbers notice when terms that matter could be lost at the limits of double; Exact ones then repeat
// the utterance. So both give the same sums up to rounding.
//
// A term is lost only behind a number below kLeastNumber. In a row of alpha, such a number times its beta is
// the posterior of all paths that pass it; if that is below kNegligible, so is the loss. This holds as long
// as no beta has lost anything, and the same the other way round.
#pragma once

#include <algorithm>
#include <limits>

#include "acceptor.h"

namespace asr::ctc {

constexpr int kLanes = 8;

#ifdef __GNUC__
typedef double Quad __attribute__((vector_size(4 * sizeof(double))));  // a register of AVX2
#else
struct alignas(32) Quad {
  double v[4];
};
inline void operator+=(Quad& a, const Quad& b) {
  for (int l = 0; l < 4; ++l) a.v[l] += b.v[l];
}
inline void operator*=(Quad& a, const Quad& b) {
  for (int l = 0; l < 4; ++l) a.v[l] *= b.v[l];
}
inline Quad operator*(double w, const Quad& a) { return {w * a.v[0], w * a.v[1], w * a.v[2], w * a.v[3]}; }
#endif

struct Lanes {
  Quad low, high;

  CTC_INLINE double& operator[](int l) { return reinterpret_cast<double*>(this)[l]; }
  CTC_INLINE double operator[](int l) const { return reinterpret_cast<const double*>(this)[l]; }
};

// The product of a number of a row, a weight and an emission, each within its limit, is a normal double.
constexpr double kLeastNumber = 0x1p-500, kLeastWeight = 0x1p-60, kLeastProduct = 0x1p-300;
constexpr double kNegligible = 0x1p-100;
constexpr double kLeastLogProb = -277;  // below the frame's highest; exp of it is about 2^-400

inline bool IsPlain(double log_weight) {
  return log_weight == -INFINITY || std::abs(log_weight) < -std::log(kLeastWeight);
}

struct Scaled {
  using Value = Lanes;
  using Weight = double;

  int64_t first, count;  // utterances first..first + count - 1, one per lane
  int64_t length[kLanes] = {}, exponent[kLanes] = {};
  double log_scale[kLanes] = {}, total[kLanes] = {};
  bool is_invalid[kLanes] = {}, is_outside[kLanes] = {};
  bool has_small_alpha[kLanes] = {}, has_small_beta[kLanes] = {};  // below kLeastNumber

  CTC_INLINE Scaled(const Outputs& x, int64_t first)
      : first(first), count(std::min<int64_t>(kLanes, x.batch - first)) {
    for (int64_t l = 0; l < count; ++l) length[l] = x.lengths[first + l];
  }
  CTC_INLINE int64_t frames() const { return *std::max_element(length, length + kLanes); }

  CTC_INLINE static const double* Weights(const Arcs& arcs) { return arcs.plain.data(); }
  CTC_INLINE static void Clear(Value& a) { a = Value{}; }
  CTC_INLINE static void AddProduct(Value& a, const Weight& w, const Value& b) {
    a.low += w * b.low;
    a.high += w * b.high;
  }
  CTC_INLINE static void AddProduct(Value& a, const Value& b, const Value& c) {
    Value product = b;
    Multiply(product, c);
    a.low += product.low;
    a.high += product.high;
  }
  CTC_INLINE static void Finish(Value&) {}
  CTC_INLINE static void Multiply(Value& a, const Value& b) {
    a.low *= b.low;
    a.high *= b.high;
  }
  CTC_INLINE static void Fill(Value& a, const Wide<double>& w) {
    for (int l = 0; l < kLanes; ++l) a[l] = w.m * Pow2<double>(w.e);
  }

  // The emissions of frame t, divided by the highest. `counts`: the frame is seen for the first time.
  CTC_INLINE void Emit(const Acceptor& graph, const Outputs& x, int64_t t, bool counts, Value* p,
                       double* row) {
    const int64_t size = static_cast<int64_t>(graph.outputs.size());
    double* lanes = reinterpret_cast<double*>(p);
    for (int64_t l = 0; l < kLanes; ++l) {
      if (t >= length[l]) {
        for (int64_t k = 0; k < size; ++k) lanes[k * kLanes + l] = 0;
        continue;
      }
      const double* outputs = x.row(t, first + l);
      for (int64_t k = 0; k < size; ++k) row[k] = outputs[graph.outputs[k]];
      double highest = -INFINITY;
      int64_t invalid = 0, outside = 0;
      for (int64_t k = 0; k < size; ++k) {
        invalid |= !(row[k] < kHighest);
        highest = Max(highest, row[k]);
      }
      if (invalid) is_invalid[l] = true;
      const double shift = highest == -INFINITY || invalid ? 0 : highest;
#pragma omp simd reduction(| : outside)
      for (int64_t k = 0; k < size; ++k) {
        const double d = row[k] - shift;
        outside |= d < kLeastLogProb && d > -INFINITY;
        row[k] = d < kLeastLogProb ? 0 : ExpPlain(d < 0 ? d : 0);
      }
      if (outside) is_outside[l] = true;
      for (int64_t k = 0; k < size; ++k) lanes[k * kLanes + l] = row[k];
      if (counts) log_scale[l] += shift;
    }
  }

  // Scales a row so that the largest number of each lane is in [1, 2).
  CTC_INLINE void Rescale(Value* row, int64_t size, bool is_alpha, bool counts) {
    alignas(64) double most[kLanes] = {}, least[kLanes], factor[kLanes];
    for (int l = 0; l < kLanes; ++l) least[l] = INFINITY;
    double* numbers = reinterpret_cast<double*>(row);
    for (int64_t s = 0; s < size; ++s) {
      const double* v = numbers + s * kLanes;
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) {
        most[l] = Max(most[l], v[l]);
        least[l] = v[l] > 0 && v[l] < least[l] ? v[l] : least[l];
      }
    }
    for (int l = 0; l < kLanes; ++l) {
      const int64_t e = most[l] > 0 ? Normalize<double>(most[l], 0).e : 0;
      factor[l] = Pow2<double>(-e);
      if (counts) exponent[l] += e;
      if (least[l] * factor[l] < kLeastNumber) (is_alpha ? has_small_alpha : has_small_beta)[l] = true;
    }
    for (int64_t s = 0; s < size; ++s) {
      double* v = numbers + s * kLanes;
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) v[l] *= factor[l];
    }
  }

  // Takes the totals of the utterances that end with frame t, whose row of alpha is given.
  CTC_INLINE void TakeTotals(const Acceptor& graph, int64_t t, const Value* row) {
    for (int l = 0; l < kLanes; ++l) {
      if (t != length[l] - 1) continue;
      for (int64_t s = 0; s < graph.num_emitting; ++s)
        total[l] += row[s][l] * (graph.end[s].m * Pow2<double>(graph.end[s].e));
    }
  }
  // Starts beta of the utterances that end with frame t.
  CTC_INLINE void StartBeta(const Acceptor& graph, int64_t t, Value* row) const {
    for (int l = 0; l < kLanes; ++l)
      for (int64_t s = 0; t == length[l] - 1 && s < graph.num_states; ++s)
        row[s][l] = graph.end[s].m * Pow2<double>(graph.end[s].e);
  }
  // The largest product of an alpha and a beta of which one is small.
  CTC_INLINE double Doubtful(const Acceptor& graph, int l, const Value* alpha, const Value* beta) const {
    double most = 0;
    for (int64_t s = 0; (has_small_alpha[l] || has_small_beta[l]) && s < graph.num_emitting; ++s)
      if (alpha[s][l] < kLeastNumber || beta[s][l] < kLeastNumber) most = Max(most, alpha[s][l] * beta[s][l]);
    return most;
  }
  // Writes the posteriors of frame t: the sum of each label divided by the sum of all.
  CTC_INLINE void Write(const Acceptor& graph, const Outputs& x, int64_t t, const Value* alpha,
                        const Value* beta, const Value* sums, double* occupancy) {
    for (int l = 0; l < kLanes; ++l) {
      if (t >= length[l] || !(total[l] > 0)) continue;
      double all = 0;
      for (size_t k = 0; k < graph.outputs.size(); ++k) all += sums[k][l];
      if (!(all > kLeastProduct) || !(Doubtful(graph, l, alpha, beta) < kNegligible * all))
        is_outside[l] = true;
      double* row = occupancy + (t * x.batch + first + l) * x.vocabulary;
      for (size_t k = 0; k < graph.outputs.size(); ++k) row[graph.outputs[k]] = sums[k][l] / all;
    }
  }
  // Whether a loss may have gone unnoticed.
  CTC_INLINE bool MustRepeat(int l, bool has_beta) const {
    return is_outside[l] || (has_small_alpha[l] && (!has_beta || has_small_beta[l] || !(total[l] > 0)));
  }
  CTC_INLINE double LogTotal(int l) const {
    return std::log(total[l]) + log_scale[l] + 0.69314718055994531 * static_cast<double>(exponent[l]);
  }
};

struct Exact {
  using Value = Wide<double>;
  using Weight = Wide<double>;

  int64_t n, length;
  Value total{1, kZero};
  bool is_invalid = false;

  CTC_INLINE Exact(const Outputs& x, int64_t n) : n(n), length(x.lengths[n]) {}
  CTC_INLINE int64_t frames() const { return length; }

  CTC_INLINE static const Weight* Weights(const Arcs& arcs) { return arcs.wide.data(); }
  CTC_INLINE static void Clear(Value& a) { a = {1, kZero}; }
  CTC_INLINE static void AddProduct(Value& a, const Value& b, const Value& c) {
    a = Sum(a, Value{b.m * c.m, b.e + c.e});
  }
  CTC_INLINE static void Finish(Value& a) { a = Normalize(a.m, a.e); }
  CTC_INLINE static void Multiply(Value& a, const Value& b) { a = ctc::Multiply(a, b); }
  CTC_INLINE static void Fill(Value& a, const Wide<double>& w) { a = w; }

  CTC_INLINE void Emit(const Acceptor& graph, const Outputs& x, int64_t t, bool, Value* p, double*) {
    for (size_t k = 0; k < graph.outputs.size(); ++k) {
      const double log_prob = x.row(t, n)[graph.outputs[k]];
      if (!(log_prob < kHighest)) is_invalid = true;
      p[k] = ExpWide(log_prob);
    }
  }
  CTC_INLINE void Rescale(Value*, int64_t, bool, bool) {}
  CTC_INLINE void TakeTotals(const Acceptor& graph, int64_t t, const Value* row) {
    if (t != length - 1) return;
    for (int64_t s = 0; s < graph.num_emitting; ++s) AddProduct(total, row[s], graph.end[s]);
    Finish(total);
  }
  CTC_INLINE void StartBeta(const Acceptor& graph, int64_t t, Value* row) const {
    if (t == length - 1) std::copy(graph.end.begin(), graph.end.end(), row);
  }
  CTC_INLINE void Write(const Acceptor& graph, const Outputs& x, int64_t t, const Value*, const Value*,
                        const Value* sums, double* occupancy) {
    Value all{1, kZero};
    for (size_t k = 0; k < graph.outputs.size(); ++k) AddProduct(all, sums[k], Value{1, 0});
    double* row = occupancy + (t * x.batch + n) * x.vocabulary;
    for (size_t k = 0; k < graph.outputs.size(); ++k)
      row[graph.outputs[k]] = sums[k].m / all.m * Pow2<double>(sums[k].e - all.e);
  }
  CTC_INLINE double LogTotal() const { return IsZero(total) ? -INFINITY : Log(total); }
};

}  // namespace asr::ctc
