// The CTC lattice of one utterance, computed row by row.
//
// At each frame an alignment with labels y[0..L) is either in label i or in the blank after i labels. A row
// of the lattice therefore has L label positions and L + 1 blank positions. The two kinds are stored in
// separate arrays, so that the transitions are the same at every i and vectorise:
//
//   label i <- label i, blank i, and label i - 1 if y[i - 1] != y[i]
//   blank i <- blank i, label i - 1
//
// alpha is the total probability of the frames up to and including the current one; beta is that of the
// current frame and those after it.
#pragma once

#include "wide.h"

namespace asr::ctc {

// An array of Wide numbers; mantissas and exponents are stored separately.
template <class Real>
struct WideArray {
  Real* m;
  Int<Real>* e;

  CTC_INLINE Wide<Real> operator[](int64_t i) const { return {m[i], e[i]}; }
  CTC_INLINE void Set(int64_t i, Wide<Real> value) const {
    m[i] = value.m;
    e[i] = value.e;
  }
};

// Rows are padded to whole vectors. The padding stays at probability zero, because its emissions are zero.
CTC_INLINE int64_t Padded(int64_t labels) { return (labels / 8 + 1) * 8; }  // > labels

// Label i is at index i + 1, between two zeros, so that transitions across either edge contribute nothing.
template <class Real>
struct Row {
  WideArray<Real> label, blank;  // Padded(L) + 2 elements each; the blank after i labels is at index i

  // Size of a row in Reals (an Int has the same size).
  CTC_INLINE static int64_t Size(int64_t labels) { return 4 * (Padded(labels) + 2); }

  CTC_INLINE static Row At(Real* memory, int64_t labels) {
    auto part = [=](int k) { return memory + k * (Padded(labels) + 2); };
    auto ints = [=](int k) { return reinterpret_cast<Int<Real>*>(part(k)); };
    return {{part(0), ints(1)}, {part(2), ints(3)}};
  }

  // Sets to zero the elements around the labels that the loops below read but never write.
  CTC_INLINE void ClearEdges(int64_t labels) const {
    const int64_t end = Padded(labels);
    label.Set(0, {1, kZero});
    label.Set(end + 1, {1, kZero});
    blank.Set(end, {1, kZero});
    blank.Set(end + 1, {1, kZero});
  }

  // Sets one blank to probability 1 and all else to 0: blank 0 before the first frame, blank L after the
  // last.
  CTC_INLINE void Start(int64_t labels, int64_t certain_blank) const {
    for (int64_t i = 0; i < Padded(labels) + 2; ++i) {
      label.Set(i, {1, kZero});
      blank.Set(i, {1, i == certain_blank ? 0 : kZero});
    }
  }
};

// The target of one utterance.
template <class Real>
struct Labels {
  const int64_t* y;
  int64_t size;
  // Padded(L) + 1 elements: 0 where label i may follow label i - 1 without a blank in between, else kZero.
  const Int<Real>* skip;
};

// Probabilities of one frame.
template <class Real>
struct Emission {
  WideArray<Real> label;  // Padded(L) elements: the probability of y[i], then zeros
  WideArray<Real> blank;  // 1 element
};

// The loops below use plain arrays that do not alias, so that the compiler can vectorise them.
template <class Real>
CTC_INLINE void AdvanceAlpha(Row<Real> from, Emission<Real> p, Labels<Real> labels, Row<Real> to) {
  const int64_t size = Padded(labels.size);
  const Wide<Real> blank_p = p.blank[0];
  const Real* __restrict am = from.label.m, * __restrict bm = from.blank.m, * __restrict pm = p.label.m;
  const Int<Real>* __restrict ae = from.label.e, * __restrict be = from.blank.e, * __restrict pe = p.label.e;
  const Int<Real>* __restrict skip = labels.skip;
  Real* __restrict to_am = to.label.m + 1, * __restrict to_bm = to.blank.m;
  Int<Real>* __restrict to_ae = to.label.e + 1, * __restrict to_be = to.blank.e;
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> prefix = Sum<Real>({am[i + 1], ae[i + 1]}, {bm[i], be[i]}, {am[i], ae[i] + skip[i]});
    const Wide<Real> next = Multiply<Real>(prefix, {pm[i], pe[i]});
    to_am[i] = next.m;
    to_ae[i] = next.e;
  }
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> next = Multiply(Sum<Real>({bm[i], be[i]}, {am[i], ae[i]}), blank_p);
    to_bm[i] = next.m;
    to_be[i] = next.e;
  }
}

// The sum of values[0..size).
template <class Real>
CTC_INLINE Real VectorSum(const Real* values, int64_t size) {
  Real total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < size; ++i) total += values[i];
  return total;
}

// Moves back by one frame: `beta` is that of the next frame, `to` becomes that of this frame. With
// kOccupancy, occupancy[i] is set to the posterior probability of label i in this frame, given alpha and the
// total; the posteriors of the blanks start at occupancy[Padded(L)].
template <bool kOccupancy, class Real>
CTC_INLINE void RetreatBeta(Row<Real> beta, Row<Real> alpha, Emission<Real> p, Labels<Real> labels,
                            Wide<Real> total, Real* __restrict occupancy, Row<Real> to) {
  const int64_t size = Padded(labels.size);
  const Wide<Real> blank_p = p.blank[0];
  const Real* __restrict am = beta.label.m + 1, * __restrict bm = beta.blank.m, * __restrict pm = p.label.m;
  const Int<Real>* __restrict ae = beta.label.e + 1, * __restrict be = beta.blank.e, * __restrict pe = p.label.e;
  const Real* __restrict alpha_am = alpha.label.m + 1, * __restrict alpha_bm = alpha.blank.m;
  const Int<Real>* __restrict alpha_ae = alpha.label.e + 1, * __restrict alpha_be = alpha.blank.e;
  const Int<Real>* __restrict skip = labels.skip + 1;
  Real* __restrict to_am = to.label.m + 1, * __restrict to_bm = to.blank.m;
  Int<Real>* __restrict to_ae = to.label.e + 1, * __restrict to_be = to.blank.e;
  Real* __restrict blank_occupancy = occupancy + size;
  const Real scale = 1 / total.m;
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> suffix =
        Sum<Real>({am[i], ae[i]}, {bm[i + 1], be[i + 1]}, {am[i + 1], ae[i + 1] + skip[i]});
    const Wide<Real> next = Multiply<Real>(suffix, {pm[i], pe[i]});
    if constexpr (kOccupancy)
      occupancy[i] = alpha_am[i] * suffix.m * scale * Pow2<Real>(alpha_ae[i] + suffix.e - total.e);
    to_am[i] = next.m;
    to_ae[i] = next.e;
  }
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> suffix = Sum<Real>({bm[i], be[i]}, {am[i], ae[i]}), next = Multiply(suffix, blank_p);
    if constexpr (kOccupancy)
      blank_occupancy[i] = alpha_bm[i] * suffix.m * scale * Pow2<Real>(alpha_be[i] + suffix.e - total.e);
    to_bm[i] = next.m;
    to_be[i] = next.e;
  }
}

}  // namespace asr::ctc
