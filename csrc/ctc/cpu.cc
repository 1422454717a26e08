// CTC loss and gradient on the CPU: vectorised over label positions and over the vocabulary; parallel over
// utterances or, if there are fewer utterances than threads, over the blocks of each utterance.
//
// The gradient needs alpha at every frame. The forward pass stores only the rows at block boundaries; the
// backward pass recomputes the rows of one block at a time. A block fits in the cache, and 30,000 frames with
// 5,000 labels take megabytes instead of gigabytes. If there are few utterances, an otherwise idle thread
// also stores beta at the block boundaries, so that the backward pass can process all blocks in parallel. The
// arithmetic is the same either way, so the results are bit-identical.
#include <limits>
#include <stdexcept>
#include <string>

#include "batch_item.h"
#include "clones.h"
#include "thread_pool.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace asr::ctc {
namespace {

Workspace& ThreadWorkspace() {
  thread_local Workspace own;
  return own;
}

template <class Scalar>
CTC_INLINE Scalar ForwardOne(const BatchItem<Scalar>& u, bool normalised, Workspace& space) {
  const int64_t size = u.labels.size, block = BlockSize(u.batch.frames);
  bool valid = true;
  Row<Real> alpha = u.state.alpha(0);
  alpha.Start(size, 0);
  const Emission<Real> p = space.emission(0);
  for (int64_t t = 0; t < u.frames; ++t) {
    u.FetchAhead(t);
    if (!normalised) u.NormalizeFrame(t);
    valid &= u.Emit(t, p);
    Row<Real> next = space.row(t % 2);
    if ((t + 1) % block == 0) {
      next = u.state.alpha((t + 1) / block);
      next.ClearEdges(size);
    }
    AdvanceAlpha(alpha, p, u.labels, next);
    alpha = next;
  }
  const Wide<Real> both = Sum<Real>(alpha.label[size], alpha.blank[size]), total = Normalize(both.m, both.e);
  u.state.set_total({valid ? total.m : std::numeric_limits<Real>::quiet_NaN(), total.e});
  if (!valid) return std::numeric_limits<Scalar>::quiet_NaN();
  if (IsZero(total)) return u.batch.zero_infinity ? 0 : std::numeric_limits<Scalar>::infinity();
  return static_cast<Scalar>(0 - Log(total));  // 0, not -0, at probability 1
}

// Stores beta at the end of each block.
template <class Scalar>
CTC_INLINE void StoreBeta(const BatchItem<Scalar>& u, Workspace& space) {
  const int64_t size = u.labels.size, block = BlockSize(u.batch.frames);
  Row<Real> beta = u.state.beta((u.frames + block - 1) / block);
  beta.Start(size, size);
  const Emission<Real> p = space.emission(0);
  for (int64_t t = u.frames - 1; t >= block; --t) {
    u.Emit(t, p);
    Row<Real> before = space.row(t % 2);
    if (t % block == 0) {
      before = u.state.beta(t / block);
      before.ClearEdges(size);
    }
    RetreatBeta<false>(beta, beta, p, u.labels, Wide<Real>{1, 0}, space.occupancy(), before);
    beta = before;
  }
}

// One frame of the gradient: weight * (softmax - occupancy) for logits, -weight * occupancy for log-probs.
template <class Scalar>
CTC_INLINE void WriteGrad(const BatchItem<Scalar>& u, int64_t t, const Real* occupancy, Real blank,
                          Scalar weight, Scalar* row) {
  if (u.batch.logits) {
    WriteSoftmax(u.row(t), u.batch.vocabulary, u.state.norms()[t], weight, row);
  } else {
    std::fill_n(row, u.batch.vocabulary, Scalar(0));
  }
  row[u.batch.blank] -= weight * static_cast<Scalar>(blank);
  for (int64_t i = 0; i < u.labels.size; ++i)
    row[u.labels.y[i]] -= weight * static_cast<Scalar>(occupancy[i]);
}

// Computes the gradient of block b from beta at its end. Returns beta at its start.
template <class Scalar>
CTC_INLINE Row<Real> BackwardBlock(const BatchItem<Scalar>& u, int64_t b, Row<Real> beta, Workspace& space,
                                   Scalar weight, Scalar* grad, int64_t stride_t) {
  const Wide<Real> total = u.state.total();
  const bool valid = !std::isnan(total.m), useful = valid && !IsZero(total);
  const int64_t block = BlockSize(u.batch.frames), begin = b * block;
  const int64_t end = std::min(begin + block, useful ? u.frames : 0);
  const Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
  for (int64_t t = std::max(begin, end); t < std::min(begin + block, u.batch.frames); ++t)
    std::fill_n(grad + t * stride_t, u.batch.vocabulary, valid || t >= u.frames ? Scalar(0) : nan);

  Row<Real> alpha = u.state.alpha(b);
  for (int64_t t = begin; t < end; ++t) {
    u.FetchAhead(t);
    u.Emit(t, space.emission(t - begin));
    AdvanceAlpha(alpha, space.emission(t - begin), u.labels, space.row(t - begin));
    alpha = space.row(t - begin);
  }
  for (int64_t t = end - 1; t >= begin; --t) {
    FetchRow<true>(grad + std::max<int64_t>(t - kFramesAhead, 0) * stride_t, u.batch.vocabulary);
    const Row<Real> before = space.row(block + t % 2);
    const Emission<Real> p = space.emission(t - begin);
    RetreatBeta<true>(beta, space.row(t - begin), p, u.labels, total, space.occupancy(), before);
    beta = before;
    const Real* blank = space.occupancy() + Padded(u.labels.size);
    WriteGrad(u, t, space.occupancy(), VectorSum(blank, Padded(u.labels.size)), weight, grad + t * stride_t);
  }
  return beta;
}

template <class Scalar>
CTC_INLINE void BackwardOne(const BatchItem<Scalar>& u, Workspace& space, Scalar weight, Scalar* grad,
                            int64_t stride_t) {
  Row<Real> beta = space.row(BlockSize(u.batch.frames) + u.frames % 2);
  beta.Start(u.labels.size, u.labels.size);
  for (int64_t b = NumBlocks(u.batch.frames) - 1; b >= 0; --b)
    beta = BackwardBlock(u, b, beta, space, weight, grad, stride_t);
}

#define CTC_INSTANTIATE(Scalar)                                                                            \
  CTC_CLONES void NormalizeClone(const BatchItem<Scalar>& u, int64_t begin, int64_t end) {                 \
    for (int64_t t = begin; t < end; ++t) u.NormalizeFrame(t);                                             \
  }                                                                                                        \
  CTC_CLONES Scalar ForwardClone(const BatchItem<Scalar>& u, bool normalised, Workspace& space) {          \
    return ForwardOne(u, normalised, space);                                                               \
  }                                                                                                        \
  CTC_CLONES void StoreBetaClone(const BatchItem<Scalar>& u, Workspace& space) { StoreBeta(u, space); }    \
  CTC_CLONES void BlockClone(const BatchItem<Scalar>& u, int64_t b, Row<Real> beta, Workspace& space,      \
                             Scalar weight, Scalar* grad, int64_t stride_t) {                              \
    BackwardBlock(u, b, beta, space, weight, grad, stride_t);                                              \
  }                                                                                                        \
  CTC_CLONES void BackwardClone(const BatchItem<Scalar>& u, Workspace& space, Scalar weight, Scalar* grad, \
                                int64_t stride_t) {                                                        \
    BackwardOne(u, space, weight, grad, stride_t);                                                         \
  }
CTC_INSTANTIATE(float)
CTC_INSTANTIATE(double)

// Requests huge pages where the system lets programs choose. New memory is mapped in pages of 4 KiB with one
// page fault each; for a gradient of several megabytes that takes longer than computing it.
void AdviseHugePages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t bytes) {
#ifdef __linux__
  constexpr uintptr_t kPage = 2 << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace

int64_t StateSize(int64_t frames, int64_t batch, int64_t vocabulary, int64_t longest_target, int threads) {
  const bool few = batch < UsefulThreads(frames, batch, vocabulary, longest_target, threads);
  return State::Size(frames, longest_target, few);
}

template <class Scalar>
void Check(const Batch<Scalar>& batch) {
  const auto refuse = [](int64_t n, const std::string& what) {
    throw std::invalid_argument("utterance " + std::to_string(n) + " of the batch: " + what);
  };
  const auto outside = [](int64_t value, int64_t last) {
    return std::to_string(value) + " is outside 0.." + std::to_string(last);
  };
  for (int64_t n = 0; n < batch.batch; ++n) {
    const int64_t frames = batch.input_lengths[n], size = batch.target_lengths[n];
    if (frames < 0 || frames > batch.frames)
      refuse(n, "input length " + outside(frames, batch.frames) + ", the number of frames of x");
    if (size < 0 || size > batch.longest_target)
      refuse(n, "target length " + outside(size, batch.longest_target) + ", the number of labels per target");
    for (int64_t i = 0; i < size; ++i) {
      const int64_t label = batch.targets[n * batch.longest_target + i];
      if (label >= 0 && label < batch.vocabulary && label != batch.blank) continue;
      const std::string label_i = "label " + std::to_string(i) + ": ";
      if (label == batch.blank)
        refuse(n, label_i + std::to_string(label) + " is the blank, which a target must not contain");
      refuse(n, label_i + outside(label, batch.vocabulary - 1) + ", the outputs of x");
    }
  }
}

template <class Scalar>
void Forward(const Batch<Scalar>& batch, Scalar* losses, double* state, int64_t state_words, int threads) {
  threads = UsefulThreads(batch, threads);
  const int64_t without_beta = State::Size(batch.frames, batch.longest_target, false);
  // Calls work(item, workspace of this thread) with room for two rows.
  auto with = [&](int64_t n, auto work) {
    Workspace& space = ThreadWorkspace();
    space.Prepare(batch.target_lengths[n], 2);
    Real* memory = state ? state + n * state_words : space.ReserveState(without_beta);
    work(BatchItem<Scalar>(batch, n, memory, space.skip()), space);
  };
  if (!state || state_words == without_beta) {
    ParallelFor(batch.batch, threads, [&](int64_t n) {
      if (state) std::fill_n(state + n * state_words, state_words, 0.0);
      with(n,
           [&](const BatchItem<Scalar>& u, Workspace& space) { losses[n] = ForwardClone(u, false, space); });
    });
    return;
  }
  std::fill_n(state, batch.batch * state_words, 0.0);
  const int64_t block = BlockSize(batch.frames), blocks = NumBlocks(batch.frames);
  ParallelFor(batch.batch * blocks, threads, [&](int64_t k) {
    with(k / blocks, [&](const BatchItem<Scalar>& u, Workspace&) {
      const int64_t begin = k % blocks * block;
      NormalizeClone(u, begin, std::min(begin + block, u.frames));
    });
  });
  ParallelFor(2 * batch.batch, threads, [&](int64_t k) {
    with(k / 2, [&](const BatchItem<Scalar>& u, Workspace& space) {
      if (k % 2) StoreBetaClone(u, space);
      if (!(k % 2)) losses[u.n] = ForwardClone(u, true, space);
    });
  });
}

template <class Scalar>
void Backward(const Batch<Scalar>& batch, double* state, int64_t state_words, const Scalar* upstream,
              Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, int threads) {
  threads = UsefulThreads(batch, threads);
  const int64_t num_outputs = batch.frames * batch.batch * batch.vocabulary;
  if (std::max(batch.frames * grad_stride_t, batch.batch * grad_stride_n) == num_outputs)  // contiguous
    AdviseHugePages(grad, num_outputs * sizeof(Scalar));
  const int64_t block = BlockSize(batch.frames), blocks = NumBlocks(batch.frames);
  auto with = [&](int64_t n, auto work) {
    Workspace& space = ThreadWorkspace();
    space.Prepare(batch.target_lengths[n], block + 2);
    work(BatchItem<Scalar>(batch, n, state + n * state_words, space.skip()), space);
  };
  if (state_words == State::Size(batch.frames, batch.longest_target, false)) {
    ParallelFor(batch.batch, threads, [&](int64_t n) {
      with(n, [&](const BatchItem<Scalar>& u, Workspace& space) {
        BackwardClone(u, space, upstream[n], grad + n * grad_stride_n, grad_stride_t);
      });
    });
    return;
  }
  ParallelFor(batch.batch * blocks, threads, [&](int64_t k) {
    with(k / blocks, [&](const BatchItem<Scalar>& u, Workspace& space) {
      const int64_t b = k % blocks, next = std::min(b + 1, (u.frames + block - 1) / block);
      BlockClone(u, b, u.state.beta(next), space, upstream[u.n], grad + u.n * grad_stride_n, grad_stride_t);
    });
  });
}

#define CTC_INSTANTIATE_API(Scalar)                                                                        \
  template void Check(const Batch<Scalar>&);                                                               \
  template void Forward(const Batch<Scalar>&, Scalar*, double*, int64_t, int);                             \
  template void Backward(const Batch<Scalar>&, double*, int64_t, const Scalar*, Scalar*, int64_t, int64_t, \
                         int);
CTC_INSTANTIATE_API(float)
CTC_INSTANTIATE_API(double)

}  // namespace asr::ctc
