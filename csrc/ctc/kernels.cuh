// CTC on a GPU, in four kernels. The maths is that of lattice.h and wide.h; read those first.
//
//   normalise_rows  a block for each frame of each utterance     the softmax's two constants
//   alpha           a block for each utterance, loop over time   all beginnings, the loss
//   occupancy       a block for each utterance, loop over time   all endings, the posteriors
//   gradient        a block for each frame of each utterance     weight * (softmax - posteriors)
//
// Only the two loops over time are sequential, and they touch 2 L + 1 positions a frame; whatever is as wide
// as the vocabulary runs on the whole device at once. A loop needs one barrier a frame, since its rows take
// turns: a frame reads one row and writes the other.
//
// No atomics, no host: the same bits from run to run. A length or label out of range cannot be reported
// from here; such an utterance gets NaN. emulation.h runs this same source on a CPU.
#ifndef CTC_KERNELS_CUH_
#define CTC_KERNELS_CUH_

#include "ctc.h"
#include "wide.h"

#ifdef __CUDACC__
#define CTC_SHARED(Type, name) extern __shared__ Type name[]
#else
#include "emulation.h"
#endif

namespace ctc {

// Beginnings and endings in double, so that a confident frame's 1 - 1e-7 is not rounded away; what is kept
// for every frame is a float, whose relative error of 6e-8 meets a posterior only once.
struct Kept {
  float m;
  int32_t e;
};

// What one utterance keeps between the kernels, in words of 8 bytes.
struct DeviceState {
  double* memory;
  int64_t frames, longest;

  CTC_INLINE static int64_t row_words(int64_t longest) { return 4 * (longest + 2); }
  CTC_INLINE static int64_t words(int64_t frames, int64_t longest) {
    return 2 + 2 * frames + frames * (2 * longest + 1) + longest + 2 * row_words(longest);
  }
  CTC_INLINE double* total() const { return memory; }  // mantissa (NaN if the utterance is unsound), exponent
  CTC_INLINE double* norm(int64_t t) const { return memory + 2 + 2 * t; }  // maximum, log of the rest
  // alpha: labels 0..L-1, then blanks 0..L
  CTC_INLINE Kept* kept(int64_t t) const {
    return reinterpret_cast<Kept*>(memory + 2 + 2 * frames + t * (2 * longest + 1));
  }
  // next[i]: the next position of the same label, or -1; first[i]: whether none stands before i
  CTC_INLINE int32_t* next() const {
    return reinterpret_cast<int32_t*>(memory + 2 + 2 * frames + frames * (2 * longest + 1));
  }
  CTC_INLINE int32_t* first() const { return next() + longest; }
  CTC_INLINE double* rows() const { return memory + words(frames, longest) - 2 * row_words(longest); }
};

// Label i at index i + 1, between two zeros; the blank after i labels at index i.
struct DeviceRow {
  double* memory;
  int64_t longest;

  CTC_INLINE Wide<double> at(int64_t k) const {
    return {memory[2 * k], static_cast<int64_t>(memory[2 * k + 1])};
  }
  CTC_INLINE void put(int64_t k, Wide<double> value) const {
    memory[2 * k] = value.m;
    memory[2 * k + 1] = static_cast<double>(value.e);
  }
  CTC_INLINE Wide<double> label(int64_t i) const { return at(i + 1); }
  CTC_INLINE Wide<double> blank(int64_t i) const { return at(longest + 2 + i); }
  CTC_INLINE void set_label(int64_t i, Wide<double> value) const { put(i + 1, value); }
  CTC_INLINE void set_blank(int64_t i, Wide<double> value) const { put(longest + 2 + i, value); }
};

// One utterance as a block sees it.
template <class Scalar>
struct DeviceUtterance {
  const Batch<Scalar>& batch;
  int64_t n, frames, size;
  const int64_t* y;
  DeviceState state;

  __device__ DeviceUtterance(const Batch<Scalar>& batch, int64_t n, double* memory)
      : batch(batch),
        n(n),
        frames(batch.input_lengths[n]),
        size(batch.target_lengths[n]),
        y(batch.targets + n * batch.longest_target),
        state{memory + n * DeviceState::words(batch.frames, batch.longest_target), batch.frames,
              batch.longest_target} {}

  __device__ bool lengths_fit() const {
    return frames >= 0 && frames <= batch.frames && size >= 0 && size <= batch.longest_target;
  }
  __device__ bool label_fits(int64_t i) const {
    return y[i] >= 0 && y[i] < batch.vocabulary && y[i] != batch.blank;
  }
  __device__ const Scalar* scores(int64_t t) const {
    return batch.x + t * batch.stride_t + n * batch.stride_n;
  }
  __device__ double log_prob(int64_t t, int64_t v) const {
    return (static_cast<double>(scores(t)[v]) - state.norm(t)[0]) - state.norm(t)[1];
  }
  template <class Float>
  __device__ Float* posteriors(Float* all, int64_t t) const {
    return all + (n * batch.frames + t) * (2 * batch.longest_target + 1);
  }
  // Whether label i may follow label i - 1 without a blank between them.
  __device__ bool leaps(int64_t i) const { return i > 0 && i < size && y[i] != y[i - 1]; }
};

// The sum or maximum over the block, for every thread; `shared` holds a value a thread.
template <class Combine>
__device__ double reduce_block(double value, double* shared, Combine combine) {
  __syncthreads();  // the last use of `shared` is over
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {  // blockDim.x is a power of two
    if (threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  return shared[0];
}

struct Add {
  CTC_INLINE double operator()(double a, double b) const { return a + b; }
};
struct Larger {
  CTC_INLINE double operator()(double a, double b) const { return larger(a, b); }
};

// grid (frames, batch); shared: blockDim doubles. log softmax(x)[v] = (x[v] - max) - log_rest, see softmax.h.
template <class Scalar>
__global__ void normalise_rows(Batch<Scalar> batch, double* memory) {
  CTC_SHARED(double, shared);
  const DeviceUtterance<Scalar> u(batch, blockIdx.y, memory);
  const int64_t t = blockIdx.x;
  if (t >= u.frames) return;
  const Scalar* x = u.scores(t);
  double max = 0, log_rest = 0;
  if (batch.logits) {
    Scalar mine = x[0];
    for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) mine = larger(mine, x[v]);
    max = reduce_block(mine, shared, Larger{});
    double rest = 0, at_max = 0;
    for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) {
      const Scalar d = x[v] - static_cast<Scalar>(max);
      if (d == 0) at_max += 1;
      if (!(d == 0)) rest += exp_plain(d);  // NaN goes here
    }
    rest = reduce_block(rest, shared, Add{});
    at_max = reduce_block(at_max, shared, Add{});
    log_rest = log1p(rest + (at_max - 1));
  }
  if (threadIdx.x == 0) {
    u.state.norm(t)[0] = max;
    u.state.norm(t)[1] = log_rest;
  }
}

// grid (batch); shared: blockDim doubles and, if rows_shared, two rows.
template <class Scalar>
__global__ void alpha(Batch<Scalar> batch, double* memory, Scalar* losses, bool rows_shared) {
  CTC_SHARED(double, shared);
  const DeviceUtterance<Scalar> u(batch, blockIdx.x, memory);
  const double nan = NAN;
  double unsound = !u.lengths_fit();
  for (int64_t i = threadIdx.x; !unsound && i < u.size; i += blockDim.x) unsound = !u.label_fits(i);
  if (reduce_block(unsound, shared, Add{}) > 0) {
    if (threadIdx.x == 0) losses[u.n] = static_cast<Scalar>(u.state.total()[0] = nan);
    return;
  }
  double* rows = rows_shared ? shared + blockDim.x : u.state.rows();
  DeviceRow from{rows, batch.longest_target};
  DeviceRow to{rows + DeviceState::row_words(batch.longest_target), batch.longest_target};
  const Wide<double> zero{1, kZero}, one{1, 0};
  for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
    from.set_label(i - 1, zero);  // before the first frame: certainly in blank 0
    from.set_blank(i, i == 0 ? one : zero);
    if (i == 0) to.set_label(-1, zero);
    if (i == u.size) break;
    int64_t k = i - 1;
    while (k >= 0 && u.y[k] != u.y[i]) --k;
    u.state.first()[i] = k < 0;
    for (k = i + 1; k < u.size && u.y[k] != u.y[i];) ++k;
    u.state.next()[i] = k < u.size ? static_cast<int32_t>(k) : -1;
  }
  __syncthreads();
  for (int64_t t = 0; t < u.frames; ++t) {
    Kept* kept = u.state.kept(t);
    const double blank_log = u.log_prob(t, batch.blank);
    const Wide<double> blank_p = exp_wide(blank_log);
    unsound += !(blank_log < kHighest);
    for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
      const Wide<double> before = from.label(i - 1);
      const Wide<double> blank = times(sum(from.blank(i), before), blank_p);
      to.set_blank(i, blank);
      kept[u.size + i] = {static_cast<float>(blank.m), static_cast<int32_t>(blank.e)};
      if (i == u.size) break;
      const double label_log = u.log_prob(t, u.y[i]);
      const Wide<double> leap{before.m, u.leaps(i) ? before.e : kZero};
      const Wide<double> label = times(sum(from.label(i), from.blank(i), leap), exp_wide(label_log));
      to.set_label(i, label);
      kept[i] = {static_cast<float>(label.m), static_cast<int32_t>(label.e)};
      unsound += !(label_log < kHighest);
    }
    __syncthreads();  // the row is whole, and the other one is free
    const DeviceRow done = from;
    from = to;
    to = done;
  }
  unsound = reduce_block(unsound, shared, Add{});
  if (threadIdx.x > 0) return;
  const Wide<double> both = sum(from.label(u.size - 1), from.blank(u.size));
  const Wide<double> total = normalized(both.m, both.e);
  u.state.total()[0] = unsound > 0 ? nan : total.m;
  u.state.total()[1] = static_cast<double>(total.e);
  if (unsound > 0) {
    losses[u.n] = static_cast<Scalar>(nan);
  } else if (is_zero(total)) {
    losses[u.n] = batch.zero_infinity ? 0 : static_cast<Scalar>(INFINITY);
  } else {
    losses[u.n] = static_cast<Scalar>(0 - log_of(total));
  }
}

// grid (batch); shared: two rows if rows_shared. posteriors (batch, frames, 2 S + 1) in the order of alpha.
template <class Scalar>
__global__ void occupancy(Batch<Scalar> batch, double* memory, float* posteriors, bool rows_shared) {
  CTC_SHARED(double, shared);
  const DeviceUtterance<Scalar> u(batch, blockIdx.x, memory);
  const Wide<double> total{u.state.total()[0], static_cast<int64_t>(u.state.total()[1])};
  if (!(total.m > 0) || is_zero(total)) return;  // unsound, or infeasible
  double* rows = rows_shared ? shared : u.state.rows();
  DeviceRow from{rows, batch.longest_target};
  DeviceRow to{rows + DeviceState::row_words(batch.longest_target), batch.longest_target};
  const Wide<double> zero{1, kZero}, one{1, 0};
  for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
    from.set_label(i, zero);  // behind the last frame: certainly in the last blank
    from.set_blank(i, i == u.size ? one : zero);
    if (i == u.size) to.set_label(i, zero);
  }
  __syncthreads();
  for (int64_t t = u.frames - 1; t >= 0; --t) {
    const Kept* kept = u.state.kept(t);
    float* row = u.posteriors(posteriors, t);
    auto posterior = [&](Kept alpha, Wide<double> ending) {
      return static_cast<float>(alpha.m * ending.m / total.m * pow2<double>(alpha.e + ending.e - total.e));
    };
    const Wide<double> blank_p = exp_wide(u.log_prob(t, batch.blank));
    for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
      const Wide<double> blank_ending = sum(from.blank(i), from.label(i));
      to.set_blank(i, times(blank_ending, blank_p));
      row[u.size + i] = posterior(kept[u.size + i], blank_ending);
      if (i == u.size) break;
      const Wide<double> behind = from.label(i + 1);
      const Wide<double> leap{behind.m, u.leaps(i + 1) ? behind.e : kZero};
      const Wide<double> ending = sum(from.label(i), from.blank(i + 1), leap);
      to.set_label(i, times(ending, exp_wide(u.log_prob(t, u.y[i]))));
      row[i] = posterior(kept[i], ending);
    }
    __syncthreads();  // the row is whole, and the other one is free
    const DeviceRow done = from;
    from = to;
    to = done;
  }
}

// grid (frames, batch); shared: blockDim doubles. The posteriors of equal labels are added by the thread of
// the first of them, along the chain of `next`: always in the same order.
template <class Scalar>
__global__ void gradient(Batch<Scalar> batch, double* memory, const float* posteriors, const Scalar* upstream,
                         Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n) {
  CTC_SHARED(double, shared);
  const DeviceUtterance<Scalar> u(batch, blockIdx.y, memory);
  const int64_t t = blockIdx.x;
  Scalar* row = grad + t * grad_stride_t + u.n * grad_stride_n;
  const double total_m = u.state.total()[0], total_e = u.state.total()[1];
  const bool sound = total_m > 0, inside = sound && t < u.frames && total_e >= kZero / 2;
  const double weight = upstream[u.n];
  const bool spoilt = !sound && (t < u.frames || !u.lengths_fit());
  const Scalar* x = u.scores(t);
  const Scalar max = static_cast<Scalar>(u.state.norm(t)[0]),
               log_rest = static_cast<Scalar>(u.state.norm(t)[1]);
  for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) {
    Scalar value = spoilt ? static_cast<Scalar>(NAN) : 0;
    if (inside && batch.logits) value = static_cast<Scalar>(weight) * exp_plain((x[v] - max) - log_rest);
    row[v] = value;
  }
  if (!inside) return;
  const float* occupied = u.posteriors(posteriors, t);
  double blank = 0;
  for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) blank += occupied[u.size + i];
  blank = reduce_block(blank, shared, Add{});  // and the whole row is written
  if (threadIdx.x == 0) row[batch.blank] -= static_cast<Scalar>(weight * blank);
  for (int64_t i = threadIdx.x; i < u.size; i += blockDim.x) {
    if (!u.state.first()[i]) continue;
    double sum = 0;
    for (int64_t k = i; k >= 0; k = u.state.next()[k]) sum += occupied[k];
    row[u.y[i]] -= static_cast<Scalar>(weight * sum);
  }
}

}  // namespace ctc

#endif  // CTC_KERNELS_CUH_
