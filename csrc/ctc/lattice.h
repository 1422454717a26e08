// The lattice of one utterance, a frame at a time.
//
// An alignment with labels y[0..L) is at each frame either in label i or in the blank after i labels. So a
// row of the lattice holds L label positions and L + 1 blank positions, and each of the two kinds is its own
// array: the moves within a kind then look the same at every i and run over vectors.
//
//   label i <- label i, blank i, and label i - 1 if y[i - 1] != y[i]
//   blank i <- blank i, label i - 1
//
// alpha counts the probability of all beginnings up to a frame, that frame included; beta that of all endings
// from it.
#ifndef CTC_LATTICE_H_
#define CTC_LATTICE_H_

#include "wide.h"

namespace ctc {

// An array of Wide numbers, mantissas and exponents apart.
template <class Real>
struct WideArray {
  Real* m;
  Int<Real>* e;

  CTC_INLINE Wide<Real> operator[](int64_t i) const { return {m[i], e[i]}; }
  CTC_INLINE void set(int64_t i, Wide<Real> value) const {
    m[i] = value.m;
    e[i] = value.e;
  }
};

// Rows are padded to whole vectors. No probability ever reaches the padding, since no emission lies there.
CTC_INLINE int64_t padded(int64_t labels) { return (labels / 8 + 1) * 8; }  // > labels

// Label i stands at index i + 1, between two zeros, so that a move over either edge adds nothing.
template <class Real>
struct Row {
  WideArray<Real> label, blank;  // padded(L) + 2 of each; the blank after i labels at index i

  // Reals (or as many Ints) a row takes.
  CTC_INLINE static int64_t size(int64_t labels) { return 4 * (padded(labels) + 2); }

  CTC_INLINE static Row at(Real* memory, int64_t labels) {
    auto part = [=](int k) { return memory + k * (padded(labels) + 2); };
    auto ints = [=](int k) { return reinterpret_cast<Int<Real>*>(part(k)); };
    return {{part(0), ints(1)}, {part(2), ints(3)}};
  }

  // What the loops below read beyond the labels, and never write.
  CTC_INLINE void clear_edges(int64_t labels) const {
    const int64_t end = padded(labels);
    label.set(0, {1, kZero});
    label.set(end + 1, {1, kZero});
    blank.set(end, {1, kZero});
    blank.set(end + 1, {1, kZero});
  }

  // Nothing, but for one blank that is certain: before the first frame blank 0, behind the last blank L.
  CTC_INLINE void start(int64_t labels, int64_t certain_blank) const {
    for (int64_t i = 0; i < padded(labels) + 2; ++i) {
      label.set(i, {1, kZero});
      blank.set(i, {1, i == certain_blank ? 0 : kZero});
    }
  }
};

// What one utterance knows of its labels.
template <class Real>
struct Labels {
  const int64_t* y;
  int64_t size;
  const Int<Real>*
      skip;  // padded(L) + 1: 0 where label i - 1 may move to label i without a blank, else kZero
};

template <class Real>
struct Emission {
  WideArray<Real> label;  // padded(L): the probability of y[i] in this frame, then zeros
  WideArray<Real> blank;  // 1
};

// The loops below work on bare arrays that do not overlap: that is what lets a compiler turn them into
// vectors.
template <class Real>
CTC_INLINE void advance_alpha(Row<Real> from, Emission<Real> p, Labels<Real> labels, Row<Real> to) {
  const int64_t size = padded(labels.size);
  const Wide<Real> blank_p = p.blank[0];
  const Real* __restrict am = from.label.m, * __restrict bm = from.blank.m, * __restrict pm = p.label.m;
  const Int<Real>* __restrict ae = from.label.e, * __restrict be = from.blank.e, * __restrict pe = p.label.e;
  const Int<Real>* __restrict skip = labels.skip;
  Real* __restrict to_am = to.label.m + 1, * __restrict to_bm = to.blank.m;
  Int<Real>* __restrict to_ae = to.label.e + 1, * __restrict to_be = to.blank.e;
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> beginning = sum<Real>({am[i + 1], ae[i + 1]}, {bm[i], be[i]}, {am[i], ae[i] + skip[i]});
    const Wide<Real> next = times<Real>(beginning, {pm[i], pe[i]});
    to_am[i] = next.m;
    to_ae[i] = next.e;
  }
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> next = times(sum<Real>({bm[i], be[i]}, {am[i], ae[i]}), blank_p);
    to_bm[i] = next.m;
    to_be[i] = next.e;
  }
}

// The sum of values[0..size), in whole vectors.
template <class Real>
CTC_INLINE Real vector_sum(const Real* values, int64_t size) {
  Real total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < size; ++i) total += values[i];
  return total;
}

// One frame back: `beta` is that of the next frame, its emission included; `to` that of this frame, likewise.
// With kOccupancy, occupancy[i] becomes the posterior probability of label i in this frame, given alpha and
// the total; as many places behind the padded(L) are for the blanks.
template <bool kOccupancy, class Real>
CTC_INLINE void retreat_beta(Row<Real> beta, Row<Real> alpha, Emission<Real> p, Labels<Real> labels,
                             Wide<Real> total, Real* __restrict occupancy, Row<Real> to) {
  const int64_t size = padded(labels.size);
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
    const Wide<Real> ending =
        sum<Real>({am[i], ae[i]}, {bm[i + 1], be[i + 1]}, {am[i + 1], ae[i + 1] + skip[i]});
    const Wide<Real> next = times<Real>(ending, {pm[i], pe[i]});
    if constexpr (kOccupancy)
      occupancy[i] = alpha_am[i] * ending.m * scale * pow2<Real>(alpha_ae[i] + ending.e - total.e);
    to_am[i] = next.m;
    to_ae[i] = next.e;
  }
  for (int64_t i = 0; i < size; ++i) {
    const Wide<Real> ending = sum<Real>({bm[i], be[i]}, {am[i], ae[i]}), next = times(ending, blank_p);
    if constexpr (kOccupancy)
      blank_occupancy[i] = alpha_bm[i] * ending.m * scale * pow2<Real>(alpha_be[i] + ending.e - total.e);
    to_bm[i] = next.m;
    to_be[i] = next.e;
  }
}

}  // namespace ctc

#endif  // CTC_LATTICE_H_
