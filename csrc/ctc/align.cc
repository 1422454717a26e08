// The likeliest alignment (Viterbi), over the lattice of lattice.h with logarithms and maxima.
//
// No back pointers are stored. The forward pass keeps one row in about sqrt(T); the way back computes the
// rows between two kept ones again, but only the few positions from which a path may still come: one label a
// frame.

#include <limits>

#include "clones.h"
#include "pool.h"
#include "utterance.h"

namespace ctc {
namespace {

constexpr Real kImpossible = -std::numeric_limits<Real>::infinity();

// The best log-probability of a beginning that ends in label i, or in the blank after i labels.
struct BestRow {
  Real* label;  // label[-1] is impossible
  Real* blank;

  static int64_t size(int64_t labels) { return 2 * padded(labels) + 8; }
  static BestRow at(Real* memory, int64_t labels) { return {memory + 8, memory + 8 + padded(labels)}; }
};

struct AlignSpace {
  std::vector<Real> leap, rows;
  std::vector<Normalizer> norms;
  std::vector<int32_t> outputs;  // the labels, then blanks to the end of the last vector

  template <class T>
  static T* grow(std::vector<T>& memory, int64_t size) {
    if (memory.size() < static_cast<size_t>(size)) memory.resize(size);
    return memory.data();
  }
};

AlignSpace& align_space() {
  thread_local AlignSpace own;
  return own;
}

// Asks for what `advance_best` will want of a frame to come: the rows lie too far apart for the processor to
// guess.
template <class Scalar>
CTC_INLINE void fetch_ahead(const Scalar* row, const int32_t* outputs, int64_t begin, int64_t end) {
#ifdef __GNUC__
  for (int64_t i = begin; i < end; ++i) __builtin_prefetch(row + outputs[i]);
#endif
}

// One frame for the labels and the blanks begin..end - 1, whole vectors of them: beyond the last label is
// nothing that comes back. `shift` is taken off all scores. Returns false for a score that is none.
template <class Scalar>
CTC_INLINE bool advance_best(BestRow from, const Scalar* __restrict row, Real shift, int64_t blank,
                             const int32_t* __restrict outputs, const Real* __restrict leap, int64_t begin,
                             int64_t end, BestRow to) {
  const Real* __restrict label = from.label, * __restrict blanks = from.blank;
  Real* __restrict to_label = to.label, * __restrict to_blank = to.blank;
  const Real blank_score = row[blank] - shift;
  int64_t unsound = !(blank_score < kHighest);
  for (int64_t i = begin; i < end; ++i) {
    const Real score = row[outputs[i]] - shift;
    unsound |= !(score < kHighest);
    to_label[i] = larger(larger(label[i], blanks[i]), label[i - 1] + leap[i]) + score;
    to_blank[i] = larger(blanks[i], label[i - 1]) + blank_score;
  }
  return !unsound;
}

template <class Scalar>
CTC_INLINE void align_one(const Batch<Scalar>& batch, int64_t n, AlignSpace& space, int64_t* path,
                          Scalar* scores) {
  const int64_t frames = batch.input_lengths[n], labels = batch.target_lengths[n];
  const int64_t* y = batch.targets + n * batch.longest_target;
  const int64_t block = block_size(frames), blocks = num_blocks(frames), row_size = BestRow::size(labels);
  auto frame = [&](int64_t t) { return batch.x + t * batch.stride_t + n * batch.stride_n; };
  const int64_t size = padded(labels), rows = blocks + 1 + block;
  Real* const leap = space.grow(space.leap, size);
  Real* const memory = space.grow(space.rows, rows * row_size);
  int32_t* const outputs = space.grow(space.outputs, size);
  Normalizer* const norms = space.grow(space.norms, frames);
  for (int64_t i = 0; i < size; ++i) {
    outputs[i] = static_cast<int32_t>(i < labels ? y[i] : batch.blank);
    leap[i] = i > 0 && i < labels && y[i] != y[i - 1] ? 0 : kImpossible;
  }
  auto kept = [=](int64_t b) { return BestRow::at(memory + b * row_size, labels); };
  auto inner = [=](int64_t k) { return kept(blocks + 1 + k); };  // rows inside a block
  for (int64_t k = 0; k < rows; ++k) kept(k).label[-1] = kImpossible;

  std::fill_n(memory, row_size, kImpossible);
  kept(0).blank[0] = 0;  // before the first frame
  BestRow best = kept(0);
  bool sound = true;
  for (int64_t t = 0; t < frames; ++t) {
    const BestRow next = (t + 1) % block == 0 || t + 1 == frames ? kept(t / block + 1) : inner(t % 2);
    fetch_ahead(frame(std::min(t + kFramesAhead, frames - 1)), outputs, 0, labels);
    norms[t] = batch.logits ? normalizer(frame(t), batch.vocabulary) : Normalizer{};
    sound &= !std::isnan(norms[t].log_rest);
    sound &= advance_best(best, frame(t), norms[t].max, batch.blank, outputs, leap, 0, size, next);
    best = next;
  }
  bool in_blank = !(best.label[labels - 1] >= best.blank[labels]);
  int64_t i = in_blank ? labels : labels - 1;
  const Real total = in_blank ? best.blank[i] : best.label[i];
  std::fill_n(path, batch.frames, -1);
  std::fill_n(scores, batch.frames, Scalar(0));
  if (!sound || total == kImpossible) {
    std::fill_n(scores, frames, sound ? kImpossible : std::numeric_limits<Scalar>::quiet_NaN());
    return;
  }
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t begin = b * block, end = std::min(begin + block, frames);
    const int64_t first = std::max<int64_t>(0, i - block) / 8 * 8, last = (i / 8 + 1) * 8;
    BestRow before = kept(b);
    for (int64_t t = begin; t + 1 < end; ++t) {
      advance_best(before, frame(t), norms[t].max, batch.blank, outputs, leap, first, last, inner(t - begin));
      before = inner(t - begin);
    }
    for (int64_t t = end - 1; t >= begin; --t) {
      before = t == begin ? kept(b) : inner(t - 1 - begin);
      path[t] = in_blank ? batch.blank : y[i];
      scores[t] = static_cast<Scalar>((frame(t)[path[t]] - norms[t].max) - norms[t].log_rest);
      const Real stay = in_blank ? before.blank[i] : before.label[i];
      const Real from_label = before.label[i - 1] + (in_blank ? 0 : leap[i]);
      if (in_blank) {
        in_blank = stay >= from_label;
        i -= !in_blank;
      } else if (!(stay >= before.blank[i] && stay >= from_label)) {
        in_blank = before.blank[i] >= from_label;
        i -= !in_blank;
      }
    }
  }
}

#define CTC_INSTANTIATE(Scalar)                                                                        \
  CTC_CLONES void align_clone(const Batch<Scalar>& batch, int64_t n, AlignSpace& space, int64_t* path, \
                              Scalar* scores) {                                                        \
    align_one(batch, n, space, path, scores);                                                          \
  }
CTC_INSTANTIATE(float)
CTC_INSTANTIATE(double)

}  // namespace

template <class Scalar>
void align(const Batch<Scalar>& batch, int64_t* paths, Scalar* scores, int threads) {
  share_out(batch.batch, useful_threads(batch, threads), [&](int64_t n) {
    align_clone(batch, n, align_space(), paths + n * batch.frames, scores + n * batch.frames);
  });
}

template void align(const Batch<float>&, int64_t*, float*, int);
template void align(const Batch<double>&, int64_t*, double*, int);

}  // namespace ctc
