// The CPU driver: threads over utterances; inside one, vectors over label positions and over the vocabulary.
//
// The gradient needs alpha of every frame. The forward pass keeps one row in about sqrt(T), and the rows
// between two kept ones are computed again when the way back reaches them: that block fits the cache, and
// 30,000 frames of 5,000 labels need megabytes instead of gigabytes.

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "ctc.h"
#include "lattice.h"
#include "softmax.h"

// Compiled once for each instruction set; the loader picks the best that the machine has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CTC_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CTC_CLONES
#endif

namespace ctc {
namespace {

using Real = double;  // of the lattice, for scores of either type

constexpr Real kHighest = 1e8;  // a score above is no logarithm of anything

int64_t block_size(int64_t frames) {
  return std::max<int64_t>(1, std::lround(std::sqrt(static_cast<double>(frames))));
}

int64_t num_blocks(int64_t frames) { return (frames + block_size(frames) - 1) / block_size(frames); }

// What the forward pass leaves of one utterance: the total, a normaliser a frame, alpha before each block and
// at the end.
struct State {
  Real* memory;
  int64_t frames, labels;

  CTC_INLINE Wide<Real> total() const { return {memory[0], static_cast<Int<Real>>(memory[1])}; }
  CTC_INLINE void set_total(Wide<Real> total) const {
    memory[0] = total.m;
    memory[1] = static_cast<Real>(total.e);
  }
  CTC_INLINE Normalizer* norms() const { return reinterpret_cast<Normalizer*>(memory + 2); }
  CTC_INLINE Row<Real> kept(int64_t k) const {
    return Row<Real>::at(memory + 2 + 2 * frames + k * Row<Real>::size(labels), labels);
  }
};

// A thread's own memory; grows to the largest utterance and serves the next again.
class Workspace {
 public:
  // All rows hold nothing, emissions behind the last label too.
  CTC_INLINE void prepare(int64_t labels, int64_t rows) {
    padded_ = padded(labels);
    row_size_ = Row<Real>::size(labels);
    rows_ = rows;
    memory_.resize(rows * (row_size_ + 2 * padded_ + 2) + 2 * padded_ + 8);
    skip_.resize(padded_ + 1);
    labels_ = labels;
    for (int64_t k = 0; k < rows; ++k) {
      row(k).start(labels, -1);
      const Emission<Real> p = emission(k);
      for (int64_t i = 0; i < padded_; ++i) p.label.set(i, {1, kZero});
    }
  }
  CTC_INLINE Row<Real> row(int64_t k) { return Row<Real>::at(memory_.data() + k * row_size_, labels_); }
  CTC_INLINE Emission<Real> emission(int64_t k) {
    Real* m = memory_.data() + rows_ * row_size_ + k * (2 * padded_ + 2);
    return {{m, ints(m + padded_)}, {m + 2 * padded_, ints(m + 2 * padded_ + 1)}};
  }
  Real* occupancy() { return memory_.data() + rows_ * (row_size_ + 2 * padded_ + 2); }
  Int<Real>* skip() { return skip_.data(); }
  Real* state(int64_t size) {
    state_.resize(size);
    return state_.data();
  }

 private:
  static Int<Real>* ints(Real* memory) { return reinterpret_cast<Int<Real>*>(memory); }

  int64_t labels_ = 0, padded_ = 0, row_size_ = 0, rows_ = 0;
  std::vector<Real> memory_, state_;
  std::vector<Int<Real>> skip_;
};

template <class Scalar>
struct Utterance {
  const Batch<Scalar>& batch;
  int64_t n, frames;
  Labels<Real> labels;
  State state;

  CTC_INLINE Utterance(const Batch<Scalar>& batch, int64_t n, Int<Real>* skip, Real* memory)
      : batch(batch),
        n(n),
        frames(batch.input_lengths[n]),
        labels{batch.targets + n * batch.longest_target, batch.target_lengths[n], skip},
        state{memory, batch.frames, labels.size} {
    for (int64_t i = 0; i <= padded(labels.size); ++i) {
      skip[i] = i > 0 && i < labels.size && labels.y[i] != labels.y[i - 1] ? 0 : kZero;
    }
  }

  CTC_INLINE const Scalar* scores(int64_t t) const {
    return batch.x + t * batch.stride_t + n * batch.stride_n;
  }

  // Gathers the probabilities of the labels in frame t; returns false if one is not a number, or infinite.
  CTC_INLINE bool emit(int64_t t, Emission<Real> p) const {
    const Scalar* __restrict row = scores(t);
    const int64_t* __restrict y = labels.y;
    Real* __restrict m = p.label.m;
    Int<Real>* __restrict e = p.label.e;
    const Real max = state.norms()[t].max, log_rest = state.norms()[t].log_rest;
    const Real blank = (row[batch.blank] - max) - log_rest;
    p.blank.set(0, exp_wide(blank));
    for (int64_t i = 0; i < labels.size; ++i) m[i] = row[y[i]];
    int64_t unsound = !(blank < kHighest);
    for (int64_t i = 0; i < labels.size; ++i) {
      const Real log_prob = (m[i] - max) - log_rest;
      const Wide<Real> prob = exp_wide(log_prob);
      unsound |= !(log_prob < kHighest);
      m[i] = prob.m;
      e[i] = prob.e;
    }
    return !unsound;
  }
};

template <class Scalar>
CTC_INLINE Scalar forward_one(const Batch<Scalar>& batch, int64_t n, Real* memory, Workspace& space) {
  space.prepare(batch.target_lengths[n], 2);
  const Utterance<Scalar> u(batch, n, space.skip(), memory);
  const int64_t size = u.labels.size, block = block_size(batch.frames);
  bool sound = true;
  Row<Real> alpha = u.state.kept(0);
  alpha.start(size, 0);
  for (int64_t t = 0; t < u.frames; ++t) {
    u.state.norms()[t] = batch.logits ? normalizer(u.scores(t), batch.vocabulary) : Normalizer{};
    const Emission<Real> p = space.emission(0);
    sound &= u.emit(t, p);
    Row<Real> next = space.row(t % 2);
    if ((t + 1) % block == 0) {
      next = u.state.kept((t + 1) / block);
      next.start(size, -1);
    }
    advance_alpha(alpha, p, u.labels, next);
    alpha = next;
  }
  const Wide<Real> both = sum<Real>(alpha.label[size], alpha.blank[size]), total = normalized(both.m, both.e);
  u.state.set_total({sound ? total.m : std::numeric_limits<Real>::quiet_NaN(), total.e});
  if (!sound) return std::numeric_limits<Scalar>::quiet_NaN();
  if (is_zero(total)) return batch.zero_infinity ? 0 : std::numeric_limits<Scalar>::infinity();
  return static_cast<Scalar>(0 - log_of(total));  // 0, not -0, if certain
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

template <class Scalar>
CTC_INLINE void backward_one(const Batch<Scalar>& batch, int64_t n, Real* memory, Workspace& space,
                             Scalar weight, Scalar* grad, int64_t stride_t) {
  const int64_t size = batch.target_lengths[n], block = block_size(batch.frames);
  space.prepare(size, block + 2);
  const Utterance<Scalar> u(batch, n, space.skip(), memory);
  const Wide<Real> total = u.state.total();
  const bool sound = !std::isnan(total.m), feasible = !is_zero(total);
  const Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
  for (int64_t t = sound && feasible ? u.frames : 0; t < batch.frames; ++t) {
    std::fill_n(grad + t * stride_t, batch.vocabulary, sound || t >= u.frames ? Scalar(0) : nan);
  }
  if (!sound || !feasible) return;

  Row<Real> beta = space.row(block), spare = space.row(block + 1);
  beta.start(size, size);
  for (int64_t b = (u.frames + block - 1) / block - 1; b >= 0; --b) {
    const int64_t begin = b * block, end = std::min(begin + block, u.frames);
    Row<Real> alpha = u.state.kept(b);
    for (int64_t t = begin; t < end; ++t) {
      u.emit(t, space.emission(t - begin));
      advance_alpha(alpha, space.emission(t - begin), u.labels, space.row(t - begin));
      alpha = space.row(t - begin);
    }
    for (int64_t t = end - 1; t >= begin; --t) {
      const Real blank = retreat_beta(beta, space.row(t - begin), space.emission(t - begin), u.labels, total,
                                      space.occupancy(), spare);
      std::swap(beta, spare);
      write_grad(u, t, space.occupancy(), blank, weight, grad + t * stride_t);
    }
  }
}

#define CTC_INSTANTIATE(Scalar)                                                                            \
  CTC_CLONES Scalar forward_clone(const Batch<Scalar>& batch, int64_t n, Real* memory, Workspace& space) { \
    return forward_one(batch, n, memory, space);                                                           \
  }                                                                                                        \
  CTC_CLONES void backward_clone(const Batch<Scalar>& batch, int64_t n, Real* memory, Workspace& space,    \
                                 Scalar weight, Scalar* grad, int64_t stride_t) {                          \
    backward_one(batch, n, memory, space, weight, grad, stride_t);                                         \
  }
CTC_INSTANTIATE(float)
CTC_INSTANTIATE(double)

// Calls work(n, workspace) for every n < count.
template <class Work>
void share_out(int64_t count, int threads, Work work) {
  std::atomic<int64_t> next{0};
  auto serve = [&] {
    Workspace space;
    for (int64_t n = next++; n < count; n = next++) work(n, space);
  };
  std::vector<std::thread> helpers;
  for (int64_t k = 1; k < std::min<int64_t>(threads, count); ++k) helpers.emplace_back(serve);
  serve();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace

int64_t state_size(int64_t frames, int64_t longest_target) {
  return 2 + 2 * frames + (num_blocks(frames) + 1) * Row<Real>::size(longest_target);
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
void forward(const Batch<Scalar>& batch, Scalar* losses, double* state, int threads) {
  const int64_t size = state_size(batch.frames, batch.longest_target);
  share_out(batch.batch, threads, [&](int64_t n, Workspace& space) {
    Real* memory = state ? state + n * size : space.state(size);
    losses[n] = forward_clone(batch, n, memory, space);
  });
}

template <class Scalar>
void backward(const Batch<Scalar>& batch, double* state, const Scalar* upstream, Scalar* grad,
              int64_t grad_stride_t, int64_t grad_stride_n, int threads) {
  const int64_t size = state_size(batch.frames, batch.longest_target);
  share_out(batch.batch, threads, [&](int64_t n, Workspace& space) {
    backward_clone(batch, n, state + n * size, space, upstream[n], grad + n * grad_stride_n, grad_stride_t);
  });
}

#define CTC_INSTANTIATE_API(Scalar)                                   \
  template std::string fault(const Batch<Scalar>&);                   \
  template void forward(const Batch<Scalar>&, Scalar*, double*, int); \
  template void backward(const Batch<Scalar>&, double*, const Scalar*, Scalar*, int64_t, int64_t, int);
CTC_INSTANTIATE_API(float)
CTC_INSTANTIATE_API(double)

}  // namespace ctc
