// Forced alignment (Viterbi) over the lattice of lattice.h, in the log domain with maxima.
//
// No back pointers are stored. The forward pass stores about one row in sqrt(T). The backtrace recomputes the
// rows between two stored ones, but only the positions that the path can still reach: it moves by at most one
// label per frame.
#include <limits>

#include "batch_item.h"
#include "clones.h"
#include "thread_pool.h"

namespace asr::ctc {
namespace {

constexpr Real kImpossible = -std::numeric_limits<Real>::infinity();

// The log-prob of the best path so far that is in label i, or in the blank after i labels.
struct BestRow {
  Real* label;  // label[-1] is impossible
  Real* blank;

  static int64_t Size(int64_t labels) { return 2 * Padded(labels) + 8; }
  static BestRow At(Real* memory, int64_t labels) { return {memory + 8, memory + 8 + Padded(labels)}; }
};

struct AlignWorkspace {
  std::vector<Real> skip, rows;
  std::vector<Normalizer> norms;
  std::vector<int32_t> outputs;  // the labels, then blanks to the end of the last vector
};

AlignWorkspace& ThreadWorkspace() {
  thread_local AlignWorkspace own;
  return own;
}

// Prefetches what `AdvanceBest` reads of a later frame: rows are too far apart for the hardware prefetcher.
template <class Scalar>
CTC_INLINE void FetchAhead(const Scalar* row, const int32_t* outputs, int64_t begin, int64_t end) {
#ifdef __GNUC__
  for (int64_t i = begin; i < end; ++i) __builtin_prefetch(row + outputs[i]);
#endif
}

// Advances labels and blanks [begin, end) by one frame, in whole vectors; what is computed beyond the last
// label is never used. `shift` is subtracted from all log-probs. Returns false if one is NaN or above
// kHighest.
template <class Scalar>
CTC_INLINE bool AdvanceBest(BestRow from, const Scalar* __restrict row, Real shift, int64_t blank,
                            const int32_t* __restrict outputs, const Real* __restrict skip, int64_t begin,
                            int64_t end, BestRow to) {
  const Real* __restrict label = from.label, * __restrict blanks = from.blank;
  Real* __restrict to_label = to.label, * __restrict to_blank = to.blank;
  const Real blank_log_prob = row[blank] - shift;
  int64_t invalid = !(blank_log_prob < kHighest);
  for (int64_t i = begin; i < end; ++i) {
    const Real log_prob = row[outputs[i]] - shift;
    invalid |= !(log_prob < kHighest);
    to_label[i] = Max(Max(label[i], blanks[i]), label[i - 1] + skip[i]) + log_prob;
    to_blank[i] = Max(blanks[i], label[i - 1]) + blank_log_prob;
  }
  return !invalid;
}

template <class Scalar>
CTC_INLINE void AlignOne(const Batch<Scalar>& batch, int64_t n, AlignWorkspace& space, int64_t* path,
                         Scalar* log_probs) {
  const int64_t frames = batch.input_lengths[n], labels = batch.target_lengths[n];
  const int64_t* y = batch.targets + n * batch.longest_target;
  const int64_t block = BlockSize(frames), blocks = NumBlocks(frames), row_size = BestRow::Size(labels);
  auto frame = [&](int64_t t) { return batch.x + t * batch.stride_t + n * batch.stride_n; };
  const int64_t size = Padded(labels), rows = blocks + 1 + block;
  Real* const skip = Grow(space.skip, size);
  Real* const memory = Grow(space.rows, rows * row_size);
  int32_t* const outputs = Grow(space.outputs, size);
  Normalizer* const norms = Grow(space.norms, frames);
  for (int64_t i = 0; i < size; ++i) {
    outputs[i] = static_cast<int32_t>(i < labels ? y[i] : batch.blank);
    skip[i] = i > 0 && i < labels && y[i] != y[i - 1] ? 0 : kImpossible;
  }
  auto stored = [=](int64_t b) { return BestRow::At(memory + b * row_size, labels); };
  auto inner = [=](int64_t k) { return stored(blocks + 1 + k); };  // rows within a block
  for (int64_t k = 0; k < rows; ++k) stored(k).label[-1] = kImpossible;

  std::fill_n(memory, row_size, kImpossible);
  stored(0).blank[0] = 0;  // before the first frame
  BestRow best = stored(0);
  bool valid = true;
  for (int64_t t = 0; t < frames; ++t) {
    const BestRow next = (t + 1) % block == 0 || t + 1 == frames ? stored(t / block + 1) : inner(t % 2);
    FetchAhead(frame(std::min(t + kFramesAhead, frames - 1)), outputs, 0, labels);
    norms[t] = batch.logits ? FindNormalizer(frame(t), batch.vocabulary) : Normalizer{};
    valid &= !std::isnan(norms[t].log_rest);
    valid &= AdvanceBest(best, frame(t), norms[t].max, batch.blank, outputs, skip, 0, size, next);
    best = next;
  }
  bool in_blank = !(best.label[labels - 1] >= best.blank[labels]);
  int64_t i = in_blank ? labels : labels - 1;
  const Real total = in_blank ? best.blank[i] : best.label[i];
  std::fill_n(path, batch.frames, -1);
  std::fill_n(log_probs, batch.frames, Scalar(0));
  if (!valid || total == kImpossible) {
    std::fill_n(log_probs, frames, valid ? kImpossible : std::numeric_limits<Scalar>::quiet_NaN());
    return;
  }
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t begin = b * block, end = std::min(begin + block, frames);
    const int64_t first = std::max<int64_t>(0, i - block) / 8 * 8, last = (i / 8 + 1) * 8;
    BestRow before = stored(b);
    for (int64_t t = begin; t + 1 < end; ++t) {
      AdvanceBest(before, frame(t), norms[t].max, batch.blank, outputs, skip, first, last, inner(t - begin));
      before = inner(t - begin);
    }
    for (int64_t t = end - 1; t >= begin; --t) {
      before = t == begin ? stored(b) : inner(t - 1 - begin);
      path[t] = in_blank ? batch.blank : y[i];
      log_probs[t] = static_cast<Scalar>((frame(t)[path[t]] - norms[t].max) - norms[t].log_rest);
      const Real stay = in_blank ? before.blank[i] : before.label[i];
      const Real from_label = before.label[i - 1] + (in_blank ? 0 : skip[i]);
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

#define CTC_INSTANTIATE(Scalar)                                                                           \
  CTC_CLONES void AlignClone(const Batch<Scalar>& batch, int64_t n, AlignWorkspace& space, int64_t* path, \
                             Scalar* log_probs) {                                                         \
    AlignOne(batch, n, space, path, log_probs);                                                           \
  }
CTC_INSTANTIATE(float)
CTC_INSTANTIATE(double)

}  // namespace

template <class Scalar>
void Align(const Batch<Scalar>& batch, int64_t* paths, Scalar* log_probs, int threads) {
  ParallelFor(batch.batch, UsefulThreads(batch, threads), [&](int64_t n) {
    AlignClone(batch, n, ThreadWorkspace(), paths + n * batch.frames, log_probs + n * batch.frames);
  });
}

template void Align(const Batch<float>&, int64_t*, float*, int);
template void Align(const Batch<double>&, int64_t*, double*, int);

}  // namespace asr::ctc
