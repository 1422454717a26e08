// One utterance of a batch on the CPU: its state between the passes, its workspace and its emissions.
#pragma once

#include <algorithm>
#include <vector>

#include "ctc.h"
#include "lattice.h"
#include "softmax.h"

namespace asr::ctc {

using Real = double;  // type of the lattice, for float and double outputs alike

constexpr int64_t kFramesAhead = 4;  // how far ahead rows are prefetched

// Frames are split into blocks of about sqrt(T) frames. A block is the unit of recomputation, and of parallel
// work if there are few utterances.
inline int64_t BlockSize(int64_t frames) {
  return std::max<int64_t>(1, std::lround(std::sqrt(static_cast<double>(frames))));
}

inline int64_t NumBlocks(int64_t frames) { return (frames + BlockSize(frames) - 1) / BlockSize(frames); }

// The number of threads worth waking: waking one costs about as much as processing 50,000 outputs.
inline int UsefulThreads(int64_t frames, int64_t batch, int64_t vocabulary, int64_t longest_target,
                         int threads) {
  const double outputs = static_cast<double>(frames) * static_cast<double>(batch);  // int64_t could overflow
  const double work = outputs * static_cast<double>(vocabulary + 8 * longest_target);
  return static_cast<int>(std::min<double>(threads, 1 + std::floor(work / 50000)));
}

template <class Scalar>
int UsefulThreads(const Batch<Scalar>& batch, int threads) {
  return UsefulThreads(batch.frames, batch.batch, batch.vocabulary, batch.longest_target, threads);
}

// Makes room for `size` elements; existing elements stay.
template <class T>
T* Grow(std::vector<T>& memory, int64_t size) {
  if (memory.size() < static_cast<size_t>(size)) memory.resize(size);
  return memory.data();
}

// The result of the forward pass that the backward pass needs: the total, one normaliser per frame, alpha at
// the block boundaries and, if `with_beta`, beta there.
struct State {
  Real* memory;
  int64_t frames, labels;

  static int64_t Size(int64_t frames, int64_t labels, bool with_beta) {
    return 2 + 2 * frames + (1 + with_beta) * (NumBlocks(frames) + 1) * Row<Real>::Size(labels);
  }

  CTC_INLINE Wide<Real> total() const { return {memory[0], static_cast<Int<Real>>(memory[1])}; }
  CTC_INLINE void set_total(Wide<Real> total) const {
    memory[0] = total.m;
    memory[1] = static_cast<Real>(total.e);
  }
  CTC_INLINE Normalizer* norms() const { return reinterpret_cast<Normalizer*>(memory + 2); }
  CTC_INLINE Row<Real> alpha(int64_t block) const {
    return Row<Real>::At(memory + 2 + 2 * frames + block * Row<Real>::Size(labels), labels);
  }
  CTC_INLINE Row<Real> beta(int64_t block) const { return alpha(NumBlocks(frames) + 1 + block); }
};

// Working memory of a thread: rows of the lattice, each with the emission of its frame. It grows to the size
// of the largest utterance and is reused.
class Workspace {
 public:
  void Prepare(int64_t labels, int64_t rows) {
    labels_ = labels;
    const int64_t size = Padded(labels);
    row_size_ = Row<Real>::Size(labels) + 2 * size + 2;
    Grow(memory_, rows * row_size_ + 2 * size);
    Grow(skip_, size + 1);
    for (int64_t k = 0; k < rows; ++k) row(k).ClearEdges(labels);
  }
  CTC_INLINE Row<Real> row(int64_t k) { return Row<Real>::At(memory_.data() + k * row_size_, labels_); }
  CTC_INLINE Emission<Real> emission(int64_t k) {
    const int64_t size = Padded(labels_);
    Real* m = memory_.data() + k * row_size_ + Row<Real>::Size(labels_);
    return {{m, Ints(m + size)}, {m + 2 * size, Ints(m + 2 * size + 1)}};
  }
  CTC_INLINE Real* occupancy() { return memory_.data() + memory_.size() - 2 * Padded(labels_); }
  CTC_INLINE Int<Real>* skip() { return skip_.data(); }
  Real* ReserveState(int64_t size) { return Grow(state_, size); }

 private:
  static CTC_INLINE Int<Real>* Ints(Real* memory) { return reinterpret_cast<Int<Real>*>(memory); }

  int64_t labels_ = 0, row_size_ = 0;
  std::vector<Real> memory_, state_;
  std::vector<Int<Real>> skip_;
};

// Prefetches a row of outputs. Successive rows of an utterance are too far apart for the hardware prefetcher,
// which only helps within a long row.
template <bool kForWriting, class Scalar>
CTC_INLINE void FetchRow(const Scalar* row, int64_t size) {
#ifdef __GNUC__
  constexpr int64_t kLine = 64 / sizeof(Scalar), kLongest = 4096 / sizeof(Scalar);
  for (int64_t v = 0; v < std::min(size, kLongest); v += kLine) __builtin_prefetch(row + v, kForWriting);
#endif
}

// Utterance n of a batch.
template <class Scalar>
struct BatchItem {
  const Batch<Scalar>& batch;
  int64_t n, frames;
  Labels<Real> labels;
  State state;

  CTC_INLINE BatchItem(const Batch<Scalar>& batch, int64_t n, Real* memory, Int<Real>* skip)
      : batch(batch),
        n(n),
        frames(batch.input_lengths[n]),
        labels{batch.targets + n * batch.longest_target, batch.target_lengths[n], skip},
        state{memory, batch.frames, labels.size} {
    for (int64_t i = 0; i <= Padded(labels.size); ++i)
      skip[i] = i > 0 && i < labels.size && labels.y[i] != labels.y[i - 1] ? 0 : kZero;
  }

  // The outputs of frame t: log-probs or logits.
  CTC_INLINE const Scalar* row(int64_t t) const { return batch.x + t * batch.stride_t + n * batch.stride_n; }
  CTC_INLINE void FetchAhead(int64_t t) const {
    FetchRow<false>(row(std::min(t + kFramesAhead, frames - 1)), batch.vocabulary);
  }
  CTC_INLINE void NormalizeFrame(int64_t t) const {
    state.norms()[t] = batch.logits ? FindNormalizer(row(t), batch.vocabulary) : Normalizer{};
  }

  // Gathers the probabilities of the labels and the blank in frame t. Returns false if a log-prob is NaN or
  // above kHighest.
  CTC_INLINE bool Emit(int64_t t, Emission<Real> p) const {
    const Scalar* __restrict outputs = row(t);
    const int64_t* __restrict y = labels.y;
    Real* __restrict m = p.label.m;
    Int<Real>* __restrict e = p.label.e;
    const Real max = state.norms()[t].max, log_rest = state.norms()[t].log_rest;
    // The blank is computed with the labels, in the first place after them.
    const int64_t size = Padded(labels.size);
    for (int64_t i = 0; i < labels.size; ++i) m[i] = outputs[y[i]];
    m[labels.size] = outputs[batch.blank];
    for (int64_t i = labels.size + 1; i < size; ++i) m[i] = -INFINITY;
    int64_t invalid = 0;
    for (int64_t i = 0; i < size; ++i) {
      const Real log_prob = (m[i] - max) - log_rest;
      const Wide<Real> prob = ExpWide(log_prob);
      invalid |= !(log_prob < kHighest);
      m[i] = prob.m;
      e[i] = prob.e;
    }
    p.blank.Set(0, p.label[labels.size]);
    p.label.Set(labels.size, {1, kZero});
    return !invalid;
  }
};

}  // namespace asr::ctc
