// One utterance on the CPU: what the forward pass leaves of it, a thread's memory for it, its emissions.
#ifndef CTC_UTTERANCE_H_
#define CTC_UTTERANCE_H_

#include <algorithm>
#include <vector>

#include "ctc.h"
#include "lattice.h"
#include "softmax.h"

namespace ctc {

using Real = double;  // of the lattice, for scores of either type

constexpr int64_t kFramesAhead = 4;  // a row is asked for before it is used

// Frames are cut into blocks of about sqrt(T). A block is the unit of what is computed twice, and of what
// threads share out when utterances are few.
inline int64_t block_size(int64_t frames) {
  return std::max<int64_t>(1, std::lround(std::sqrt(static_cast<double>(frames))));
}

inline int64_t num_blocks(int64_t frames) { return (frames + block_size(frames) - 1) / block_size(frames); }

// As many threads as have something to do: waking one costs as much as some 50,000 scores.
inline int useful_threads(int64_t frames, int64_t batch, int64_t vocabulary, int64_t longest_target,
                          int threads) {
  const int64_t scores = frames * batch * (vocabulary + 8 * longest_target);
  return static_cast<int>(std::min<int64_t>(threads, 1 + scores / 50000));
}

template <class Scalar>
int useful_threads(const Batch<Scalar>& batch, int threads) {
  return useful_threads(batch.frames, batch.batch, batch.vocabulary, batch.longest_target, threads);
}

// What the forward pass leaves: the total, a normaliser a frame, alpha at the edges of the blocks and, where
// it was cheap to have, beta there.
struct State {
  Real* memory;
  int64_t frames, labels;

  static int64_t size(int64_t frames, int64_t labels, bool with_beta) {
    return 2 + 2 * frames + (1 + with_beta) * (num_blocks(frames) + 1) * Row<Real>::size(labels);
  }

  CTC_INLINE Wide<Real> total() const { return {memory[0], static_cast<Int<Real>>(memory[1])}; }
  CTC_INLINE void set_total(Wide<Real> total) const {
    memory[0] = total.m;
    memory[1] = static_cast<Real>(total.e);
  }
  CTC_INLINE Normalizer* norms() const { return reinterpret_cast<Normalizer*>(memory + 2); }
  CTC_INLINE Row<Real> alpha(int64_t block) const {
    return Row<Real>::at(memory + 2 + 2 * frames + block * Row<Real>::size(labels), labels);
  }
  CTC_INLINE Row<Real> beta(int64_t block) const { return alpha(num_blocks(frames) + 1 + block); }
};

// A thread's own memory: rows of the lattice, each with its frame's emission. It grows to the largest
// utterance and serves the next one again.
class Workspace {
 public:
  void prepare(int64_t labels, int64_t rows) {
    labels_ = labels;
    const int64_t size = padded(labels);
    row_size_ = Row<Real>::size(labels) + 2 * size + 2;
    grow(memory_, rows * row_size_ + 2 * size);
    grow(skip_, size + 1);
    for (int64_t k = 0; k < rows; ++k) row(k).clear_edges(labels);
  }
  CTC_INLINE Row<Real> row(int64_t k) { return Row<Real>::at(memory_.data() + k * row_size_, labels_); }
  CTC_INLINE Emission<Real> emission(int64_t k) {
    const int64_t size = padded(labels_);
    Real* m = memory_.data() + k * row_size_ + Row<Real>::size(labels_);
    return {{m, ints(m + size)}, {m + 2 * size, ints(m + 2 * size + 1)}};
  }
  CTC_INLINE Real* occupancy() { return memory_.data() + memory_.size() - 2 * padded(labels_); }
  CTC_INLINE Int<Real>* skip() { return skip_.data(); }
  Real* state(int64_t size) {
    grow(state_, size);
    return state_.data();
  }

 private:
  static CTC_INLINE Int<Real>* ints(Real* memory) { return reinterpret_cast<Int<Real>*>(memory); }
  template <class T>
  static void grow(std::vector<T>& memory, int64_t size) {
    if (memory.size() < static_cast<size_t>(size)) memory.resize(size);
  }

  int64_t labels_ = 0, row_size_ = 0;
  std::vector<Real> memory_, state_;
  std::vector<Int<Real>> skip_;
};

// Asks for a row that will be wanted soon. Rows lie a batch apart, too far for the processor to guess where
// the next one begins; within a long row it does.
template <bool kToWrite, class Scalar>
CTC_INLINE void fetch_row(const Scalar* row, int64_t size) {
#ifdef __GNUC__
  constexpr int64_t kLine = 64 / sizeof(Scalar), kLongest = 4096 / sizeof(Scalar);
  for (int64_t v = 0; v < std::min(size, kLongest); v += kLine) __builtin_prefetch(row + v, kToWrite);
#endif
}

template <class Scalar>
struct Utterance {
  const Batch<Scalar>& batch;
  int64_t n, frames;
  Labels<Real> labels;
  State state;

  CTC_INLINE Utterance(const Batch<Scalar>& batch, int64_t n, Real* memory, Int<Real>* skip)
      : batch(batch),
        n(n),
        frames(batch.input_lengths[n]),
        labels{batch.targets + n * batch.longest_target, batch.target_lengths[n], skip},
        state{memory, batch.frames, labels.size} {
    for (int64_t i = 0; i <= padded(labels.size); ++i)
      skip[i] = i > 0 && i < labels.size && labels.y[i] != labels.y[i - 1] ? 0 : kZero;
  }

  CTC_INLINE const Scalar* scores(int64_t t) const {
    return batch.x + t * batch.stride_t + n * batch.stride_n;
  }
  CTC_INLINE void fetch_ahead(int64_t t) const {
    fetch_row<false>(scores(std::min(t + kFramesAhead, frames - 1)), batch.vocabulary);
  }
  CTC_INLINE void normalise(int64_t t) const {
    state.norms()[t] = batch.logits ? normalizer(scores(t), batch.vocabulary) : Normalizer{};
  }

  // Gathers the probabilities of the labels in frame t; returns false if one is not a number, or infinite.
  CTC_INLINE bool emit(int64_t t, Emission<Real> p) const {
    const Scalar* __restrict row = scores(t);
    const int64_t* __restrict y = labels.y;
    Real* __restrict m = p.label.m;
    Int<Real>* __restrict e = p.label.e;
    const Real max = state.norms()[t].max, log_rest = state.norms()[t].log_rest;
    // The blank goes through the vectors too, in the first place behind the labels.
    const int64_t size = padded(labels.size);
    for (int64_t i = 0; i < labels.size; ++i) m[i] = row[y[i]];
    m[labels.size] = row[batch.blank];
    for (int64_t i = labels.size + 1; i < size; ++i) m[i] = -INFINITY;
    int64_t unsound = 0;
    for (int64_t i = 0; i < size; ++i) {
      const Real log_prob = (m[i] - max) - log_rest;
      const Wide<Real> prob = exp_wide(log_prob);
      unsound |= !(log_prob < kHighest);
      m[i] = prob.m;
      e[i] = prob.e;
    }
    p.blank.set(0, p.label[labels.size]);
    p.label.set(labels.size, {1, kZero});
    return !unsound;
  }
};

}  // namespace ctc

#endif  // CTC_UTTERANCE_H_
