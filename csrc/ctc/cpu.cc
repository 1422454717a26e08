// The CPU driver: vectors over label positions and over the vocabulary; threads over utterances or, where
// there are fewer of those than threads, over the blocks of an utterance.
//
// The gradient needs alpha of every frame. The forward pass keeps the row at each edge of the blocks, and the
// rows inside a block are computed again when the way back reaches it: that block fits the cache, and 30,000
// frames of 5,000 labels need megabytes instead of gigabytes. For few utterances beta is kept at the edges as
// well, by a thread that would have nothing to do otherwise; then the way back can begin at all blocks at
// once. Every number is the outcome of the same operations either way.

#include <limits>

#include "clones.h"
#include "pool.h"
#include "utterance.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace ctc {
namespace {

Workspace& workspace() {
  thread_local Workspace own;
  return own;
}

template <class Scalar>
CTC_INLINE Scalar forward_one(const Utterance<Scalar>& u, bool normalised, Workspace& space) {
  const int64_t size = u.labels.size, block = block_size(u.batch.frames);
  bool sound = true;
  Row<Real> alpha = u.state.alpha(0);
  alpha.start(size, 0);
  const Emission<Real> p = space.emission(0);
  for (int64_t t = 0; t < u.frames; ++t) {
    u.fetch_ahead(t);
    if (!normalised) u.normalise(t);
    sound &= u.emit(t, p);
    Row<Real> next = space.row(t % 2);
    if ((t + 1) % block == 0) {
      next = u.state.alpha((t + 1) / block);
      next.clear_edges(size);
    }
    advance_alpha(alpha, p, u.labels, next);
    alpha = next;
  }
  const Wide<Real> both = sum<Real>(alpha.label[size], alpha.blank[size]), total = normalized(both.m, both.e);
  u.state.set_total({sound ? total.m : std::numeric_limits<Real>::quiet_NaN(), total.e});
  if (!sound) return std::numeric_limits<Scalar>::quiet_NaN();
  if (is_zero(total)) return u.batch.zero_infinity ? 0 : std::numeric_limits<Scalar>::infinity();
  return static_cast<Scalar>(0 - log_of(total));  // 0, not -0, if certain
}

// Beta at the end of each block.
template <class Scalar>
CTC_INLINE void keep_beta(const Utterance<Scalar>& u, Workspace& space) {
  const int64_t size = u.labels.size, block = block_size(u.batch.frames);
  Row<Real> beta = u.state.beta((u.frames + block - 1) / block);
  beta.start(size, size);
  const Emission<Real> p = space.emission(0);
  for (int64_t t = u.frames - 1; t >= block; --t) {
    u.emit(t, p);
    Row<Real> before = space.row(t % 2);
    if (t % block == 0) {
      before = u.state.beta(t / block);
      before.clear_edges(size);
    }
    retreat_beta<false>(beta, beta, p, u.labels, Wide<Real>{1, 0}, space.occupancy(), before);
    beta = before;
  }
}

// One frame of the gradient: weight * (softmax - occupancy) by logits, -weight * occupancy by
// log-probabilities.
template <class Scalar>
CTC_INLINE void write_grad(const Utterance<Scalar>& u, int64_t t, const Real* occupancy, Real blank,
                           Scalar weight, Scalar* row) {
  if (u.batch.logits) {
    softmax_row(u.scores(t), u.batch.vocabulary, u.state.norms()[t], weight, row);
  } else {
    std::fill_n(row, u.batch.vocabulary, Scalar(0));
  }
  row[u.batch.blank] -= weight * static_cast<Scalar>(blank);
  for (int64_t i = 0; i < u.labels.size; ++i)
    row[u.labels.y[i]] -= weight * static_cast<Scalar>(occupancy[i]);
}

// The gradient of one block, given beta behind it. Returns beta before it.
template <class Scalar>
CTC_INLINE Row<Real> backward_block(const Utterance<Scalar>& u, int64_t b, Row<Real> beta, Workspace& space,
                                    Scalar weight, Scalar* grad, int64_t stride_t) {
  const Wide<Real> total = u.state.total();
  const bool sound = !std::isnan(total.m), useful = sound && !is_zero(total);
  const int64_t block = block_size(u.batch.frames), begin = b * block;
  const int64_t end = std::min(begin + block, useful ? u.frames : 0);
  const Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
  for (int64_t t = std::max(begin, end); t < std::min(begin + block, u.batch.frames); ++t)
    std::fill_n(grad + t * stride_t, u.batch.vocabulary, sound || t >= u.frames ? Scalar(0) : nan);

  Row<Real> alpha = u.state.alpha(b);
  for (int64_t t = begin; t < end; ++t) {
    u.fetch_ahead(t);
    u.emit(t, space.emission(t - begin));
    advance_alpha(alpha, space.emission(t - begin), u.labels, space.row(t - begin));
    alpha = space.row(t - begin);
  }
  for (int64_t t = end - 1; t >= begin; --t) {
    fetch_row<true>(grad + std::max<int64_t>(t - kFramesAhead, 0) * stride_t, u.batch.vocabulary);
    const Row<Real> before = space.row(block + t % 2);
    const Emission<Real> p = space.emission(t - begin);
    retreat_beta<true>(beta, space.row(t - begin), p, u.labels, total, space.occupancy(), before);
    beta = before;
    const Real* blank = space.occupancy() + padded(u.labels.size);
    write_grad(u, t, space.occupancy(), vector_sum(blank, padded(u.labels.size)), weight,
               grad + t * stride_t);
  }
  return beta;
}

template <class Scalar>
CTC_INLINE void backward_one(const Utterance<Scalar>& u, Workspace& space, Scalar weight, Scalar* grad,
                             int64_t stride_t) {
  Row<Real> beta = space.row(block_size(u.batch.frames) + u.frames % 2);
  beta.start(u.labels.size, u.labels.size);
  for (int64_t b = num_blocks(u.batch.frames) - 1; b >= 0; --b)
    beta = backward_block(u, b, beta, space, weight, grad, stride_t);
}

#define CTC_INSTANTIATE(Scalar)                                                                             \
  CTC_CLONES void normalise_clone(const Utterance<Scalar>& u, int64_t begin, int64_t end) {                 \
    for (int64_t t = begin; t < end; ++t) u.normalise(t);                                                   \
  }                                                                                                         \
  CTC_CLONES Scalar forward_clone(const Utterance<Scalar>& u, bool normalised, Workspace& space) {          \
    return forward_one(u, normalised, space);                                                               \
  }                                                                                                         \
  CTC_CLONES void keep_beta_clone(const Utterance<Scalar>& u, Workspace& space) { keep_beta(u, space); }    \
  CTC_CLONES void block_clone(const Utterance<Scalar>& u, int64_t b, Row<Real> beta, Workspace& space,      \
                              Scalar weight, Scalar* grad, int64_t stride_t) {                              \
    backward_block(u, b, beta, space, weight, grad, stride_t);                                              \
  }                                                                                                         \
  CTC_CLONES void backward_clone(const Utterance<Scalar>& u, Workspace& space, Scalar weight, Scalar* grad, \
                                 int64_t stride_t) {                                                        \
    backward_one(u, space, weight, grad, stride_t);                                                         \
  }
CTC_INSTANTIATE(float)
CTC_INSTANTIATE(double)

// Fresh memory comes in pages of 4 KiB, each a trip to the kernel, which for a gradient of some megabytes
// takes longer than computing it. Larger pages are asked for where the system leaves that to programs.
void ask_for_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t bytes) {
#ifdef __linux__
  constexpr uintptr_t kPage = 2 << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace

int64_t state_size(int64_t frames, int64_t batch, int64_t vocabulary, int64_t longest_target, int threads) {
  const bool few = batch < useful_threads(frames, batch, vocabulary, longest_target, threads);
  return State::size(frames, longest_target, few);
}

template <class Scalar>
std::string fault(const Batch<Scalar>& batch) {
  auto name = [](int64_t n) { return "utterance " + std::to_string(n) + " of the batch: "; };
  auto outside = [](int64_t value, int64_t last) {
    return std::to_string(value) + " is outside 0.." + std::to_string(last);
  };
  for (int64_t n = 0; n < batch.batch; ++n) {
    const int64_t frames = batch.input_lengths[n], size = batch.target_lengths[n];
    if (frames < 0 || frames > batch.frames)
      return name(n) + "input length " + outside(frames, batch.frames) + ", the frames of x";
    if (size < 0 || size > batch.longest_target)
      return name(n) + "target length " + outside(size, batch.longest_target) + ", the labels there are";
    for (int64_t i = 0; i < size; ++i) {
      const int64_t label = batch.targets[n * batch.longest_target + i];
      if (label >= 0 && label < batch.vocabulary && label != batch.blank) continue;
      const std::string label_i = name(n) + "label " + std::to_string(i) + ": ";
      if (label == batch.blank)
        return label_i + std::to_string(label) + " is the blank, which no target holds";
      return label_i + outside(label, batch.vocabulary - 1) + ", the outputs of x";
    }
  }
  return "";
}

template <class Scalar>
void forward(const Batch<Scalar>& batch, Scalar* losses, double* state, int64_t state_words, int threads) {
  threads = useful_threads(batch, threads);
  const int64_t without_beta = State::size(batch.frames, batch.longest_target, false);
  // Calls work(utterance, its thread's memory) with two rows.
  auto with = [&](int64_t n, auto work) {
    Workspace& space = workspace();
    space.prepare(batch.target_lengths[n], 2);
    Real* memory = state ? state + n * state_words : space.state(without_beta);
    work(Utterance<Scalar>(batch, n, memory, space.skip()), space);
  };
  if (!state || state_words == without_beta) {
    share_out(batch.batch, threads, [&](int64_t n) {
      if (state) std::fill_n(state + n * state_words, state_words, 0.0);
      with(n,
           [&](const Utterance<Scalar>& u, Workspace& space) { losses[n] = forward_clone(u, false, space); });
    });
    return;
  }
  std::fill_n(state, batch.batch * state_words, 0.0);
  const int64_t block = block_size(batch.frames), blocks = num_blocks(batch.frames);
  share_out(batch.batch * blocks, threads, [&](int64_t k) {
    with(k / blocks, [&](const Utterance<Scalar>& u, Workspace&) {
      const int64_t begin = k % blocks * block;
      normalise_clone(u, begin, std::min(begin + block, u.frames));
    });
  });
  share_out(2 * batch.batch, threads, [&](int64_t k) {
    with(k / 2, [&](const Utterance<Scalar>& u, Workspace& space) {
      if (k % 2) keep_beta_clone(u, space);
      if (!(k % 2)) losses[u.n] = forward_clone(u, true, space);
    });
  });
}

template <class Scalar>
void backward(const Batch<Scalar>& batch, double* state, int64_t state_words, const Scalar* upstream,
              Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, int threads) {
  threads = useful_threads(batch, threads);
  const int64_t scores = batch.frames * batch.batch * batch.vocabulary;
  if (std::max(batch.frames * grad_stride_t, batch.batch * grad_stride_n) == scores)  // no gaps
    ask_for_large_pages(grad, scores * sizeof(Scalar));
  const int64_t block = block_size(batch.frames), blocks = num_blocks(batch.frames);
  auto with = [&](int64_t n, auto work) {
    Workspace& space = workspace();
    space.prepare(batch.target_lengths[n], block + 2);
    work(Utterance<Scalar>(batch, n, state + n * state_words, space.skip()), space);
  };
  if (state_words == State::size(batch.frames, batch.longest_target, false)) {
    share_out(batch.batch, threads, [&](int64_t n) {
      with(n, [&](const Utterance<Scalar>& u, Workspace& space) {
        backward_clone(u, space, upstream[n], grad + n * grad_stride_n, grad_stride_t);
      });
    });
    return;
  }
  share_out(batch.batch * blocks, threads, [&](int64_t k) {
    with(k / blocks, [&](const Utterance<Scalar>& u, Workspace& space) {
      const int64_t b = k % blocks, behind = std::min(b + 1, (u.frames + block - 1) / block);
      block_clone(u, b, u.state.beta(behind), space, upstream[u.n], grad + u.n * grad_stride_n,
                  grad_stride_t);
    });
  });
}

#define CTC_INSTANTIATE_API(Scalar)                                                                        \
  template std::string fault(const Batch<Scalar>&);                                                        \
  template void forward(const Batch<Scalar>&, Scalar*, double*, int64_t, int);                             \
  template void backward(const Batch<Scalar>&, double*, int64_t, const Scalar*, Scalar*, int64_t, int64_t, \
                         int);
CTC_INSTANTIATE_API(float)
CTC_INSTANTIATE_API(double)

}  // namespace ctc
