// CTC on a GPU, in four kernels. The algorithm is that of lattice.h and wide.h; read those first.
//
//   NormalizeRows     one block per frame of an utterance         the normaliser of the softmax
//   ComputeAlpha      one block per utterance, loop over frames   alpha, the loss
//   ComputeOccupancy  one block per utterance, loop over frames   beta, the posteriors
//   ComputeGradient   one block per frame of an utterance         weight * (softmax - posteriors)
//
// Only the two loops over frames are sequential, and they touch 2 L + 1 positions per frame; all work over
// the vocabulary runs on the whole device in parallel. A loop needs one barrier per frame because it
// alternates between two rows: each frame reads one and writes the other.
//
// There are no atomics and no transfers to the host, so results are bit-identical from run to run. A kernel
// cannot report a length or label that is out of range; such an utterance gets NaN. emulation.h runs this
// source on a CPU.
#pragma once

#include "ctc.h"
#include "device.cuh"

namespace asr::ctc {

// The state of one utterance between the kernels, in words of 8 bytes.
struct DeviceState {
  double* memory;
  int64_t frames, longest;

  CTC_INLINE static int64_t RowWords(int64_t longest) { return 4 * (longest + 2); }
  CTC_INLINE static int64_t NumWords(int64_t frames, int64_t longest) {
    return 2 + 2 * frames + frames * (2 * longest + 1) + longest + 2 * RowWords(longest);
  }
  CTC_INLINE double* total() const { return memory; }  // mantissa (NaN if the utterance is invalid), exponent
  CTC_INLINE double* norm(int64_t t) const { return memory + 2 + 2 * t; }  // max, log_rest: see softmax.h
  // alpha of frame t: labels 0..L-1, then blanks 0..L
  CTC_INLINE PackedWide* alpha(int64_t t) const {
    return reinterpret_cast<PackedWide*>(memory + 2 + 2 * frames + t * (2 * longest + 1));
  }
  // next[i]: the next position with the same label, or -1; first[i]: whether no earlier position has it
  CTC_INLINE int32_t* next() const {
    return reinterpret_cast<int32_t*>(memory + 2 + 2 * frames + frames * (2 * longest + 1));
  }
  CTC_INLINE int32_t* first() const { return next() + longest; }
  CTC_INLINE double* rows() const { return memory + NumWords(frames, longest) - 2 * RowWords(longest); }
};

// A row of the lattice: label i at index i + 1, between two zeros; then the blank after i labels.
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

// Utterance n of a batch, as seen by a block.
template <class Scalar>
struct DeviceItem {
  const Batch<Scalar>& batch;
  int64_t n, frames, size;
  const int64_t* y;
  DeviceState state;

  __device__ DeviceItem(const Batch<Scalar>& batch, int64_t n, double* memory)
      : batch(batch),
        n(n),
        frames(batch.input_lengths[n]),
        size(batch.target_lengths[n]),
        y(batch.targets + n * batch.longest_target),
        state{memory + n * DeviceState::NumWords(batch.frames, batch.longest_target), batch.frames,
              batch.longest_target} {}

  __device__ bool LengthsFit() const {
    return frames >= 0 && frames <= batch.frames && size >= 0 && size <= batch.longest_target;
  }
  __device__ bool LabelFits(int64_t i) const {
    return y[i] >= 0 && y[i] < batch.vocabulary && y[i] != batch.blank;
  }
  // The outputs of frame t: log-probs or logits.
  __device__ const Scalar* row(int64_t t) const { return batch.x + t * batch.stride_t + n * batch.stride_n; }
  __device__ double LogProb(int64_t t, int64_t v) const {
    return (static_cast<double>(row(t)[v]) - state.norm(t)[0]) - state.norm(t)[1];
  }
  template <class Float>
  __device__ Float* posteriors(Float* all, int64_t t) const {
    return all + (n * batch.frames + t) * (2 * batch.longest_target + 1);
  }
  // Whether label i may follow label i - 1 without a blank in between.
  __device__ bool CanSkip(int64_t i) const { return i > 0 && i < size && y[i] != y[i - 1]; }
};

// grid: (batch * frames), an utterance's frames in a row; shared: blockDim doubles. log softmax(x)[v] =
// (x[v] - max) - log_rest: see softmax.h.
template <class Scalar>
__global__ void NormalizeRows(Batch<Scalar> batch, double* memory) {
  CTC_SHARED(double, shared);
  const DeviceItem<Scalar> u(batch, blockIdx.x / batch.frames, memory);
  const int64_t t = blockIdx.x % batch.frames;
  if (t >= u.frames) return;
  const Scalar* x = u.row(t);
  double max = 0, log_rest = 0;
  if (batch.logits) {
    Scalar mine = x[0];
    for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) mine = Max(mine, x[v]);
    max = ReduceBlock<double>(mine, shared, MaxOp{});
    double rest = 0, at_max = 0;
    for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) {
      const Scalar d = x[v] - static_cast<Scalar>(max);
      if (d == 0) at_max += 1;
      if (!(d == 0)) rest += ExpPlain(d);  // also for NaN
    }
    rest = ReduceBlock(rest, shared, AddOp{});
    at_max = ReduceBlock(at_max, shared, AddOp{});
    log_rest = log1p(rest + (at_max - 1));
  }
  if (threadIdx.x == 0) {
    u.state.norm(t)[0] = max;
    u.state.norm(t)[1] = log_rest;
  }
}

// grid: (batch); shared: blockDim doubles and, if rows_shared, two rows.
template <class Scalar>
__global__ void ComputeAlpha(Batch<Scalar> batch, double* memory, Scalar* losses, bool rows_shared) {
  CTC_SHARED(double, shared);
  const DeviceItem<Scalar> u(batch, blockIdx.x, memory);
  const double nan = NAN;
  double invalid = !u.LengthsFit();
  for (int64_t i = threadIdx.x; !invalid && i < u.size; i += blockDim.x) invalid = !u.LabelFits(i);
  if (ReduceBlock(invalid, shared, AddOp{}) > 0) {
    if (threadIdx.x == 0) losses[u.n] = static_cast<Scalar>(u.state.total()[0] = nan);
    return;
  }
  double* rows = rows_shared ? shared + blockDim.x : u.state.rows();
  DeviceRow from{rows, batch.longest_target};
  DeviceRow to{rows + DeviceState::RowWords(batch.longest_target), batch.longest_target};
  const Wide<double> zero{1, kZero}, one{1, 0};
  for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
    from.set_label(i - 1, zero);  // before the first frame: blank 0 with probability 1
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
    PackedWide* alpha = u.state.alpha(t);
    const double blank_log_prob = u.LogProb(t, batch.blank);
    const Wide<double> blank_p = ExpWide(blank_log_prob);
    invalid += !(blank_log_prob < kHighest);
    for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
      const Wide<double> before = from.label(i - 1);
      const Wide<double> blank = Multiply(Sum(from.blank(i), before), blank_p);
      to.set_blank(i, blank);
      alpha[u.size + i] = {static_cast<float>(blank.m), static_cast<int32_t>(blank.e)};
      if (i == u.size) break;
      const double label_log_prob = u.LogProb(t, u.y[i]);
      const Wide<double> skip{before.m, u.CanSkip(i) ? before.e : kZero};
      const Wide<double> label = Multiply(Sum(from.label(i), from.blank(i), skip), ExpWide(label_log_prob));
      to.set_label(i, label);
      alpha[i] = {static_cast<float>(label.m), static_cast<int32_t>(label.e)};
      invalid += !(label_log_prob < kHighest);
    }
    __syncthreads();  // `to` is complete, `from` is free
    const DeviceRow done = from;
    from = to;
    to = done;
  }
  invalid = ReduceBlock(invalid, shared, AddOp{});
  if (threadIdx.x > 0) return;
  const Wide<double> both = Sum(from.label(u.size - 1), from.blank(u.size));
  const Wide<double> total = Normalize(both.m, both.e);
  u.state.total()[0] = invalid > 0 ? nan : total.m;
  u.state.total()[1] = static_cast<double>(total.e);
  if (invalid > 0) {
    losses[u.n] = static_cast<Scalar>(nan);
  } else if (IsZero(total)) {
    losses[u.n] = batch.zero_infinity ? 0 : static_cast<Scalar>(INFINITY);
  } else {
    losses[u.n] = static_cast<Scalar>(0 - Log(total));
  }
}

// grid: (batch); shared: two rows if rows_shared. posteriors: (batch, frames, 2 S + 1), in the order of
// alpha.
template <class Scalar>
__global__ void ComputeOccupancy(Batch<Scalar> batch, double* memory, float* posteriors, bool rows_shared) {
  CTC_SHARED(double, shared);
  const DeviceItem<Scalar> u(batch, blockIdx.x, memory);
  const Wide<double> total{u.state.total()[0], static_cast<int64_t>(u.state.total()[1])};
  if (!(total.m > 0) || IsZero(total)) return;  // invalid, or no alignment
  double* rows = rows_shared ? shared : u.state.rows();
  DeviceRow from{rows, batch.longest_target};
  DeviceRow to{rows + DeviceState::RowWords(batch.longest_target), batch.longest_target};
  const Wide<double> zero{1, kZero}, one{1, 0};
  for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
    from.set_label(i, zero);  // after the last frame: the last blank with probability 1
    from.set_blank(i, i == u.size ? one : zero);
    if (i == u.size) to.set_label(i, zero);
  }
  __syncthreads();
  for (int64_t t = u.frames - 1; t >= 0; --t) {
    const PackedWide* alpha = u.state.alpha(t);
    float* row = u.posteriors(posteriors, t);
    auto posterior = [&](PackedWide prefix, Wide<double> suffix) {
      return static_cast<float>(prefix.m * suffix.m / total.m * Pow2<double>(prefix.e + suffix.e - total.e));
    };
    const Wide<double> blank_p = ExpWide(u.LogProb(t, batch.blank));
    for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) {
      const Wide<double> blank_suffix = Sum(from.blank(i), from.label(i));
      to.set_blank(i, Multiply(blank_suffix, blank_p));
      row[u.size + i] = posterior(alpha[u.size + i], blank_suffix);
      if (i == u.size) break;
      const Wide<double> after = from.label(i + 1);
      const Wide<double> skip{after.m, u.CanSkip(i + 1) ? after.e : kZero};
      const Wide<double> suffix = Sum(from.label(i), from.blank(i + 1), skip);
      to.set_label(i, Multiply(suffix, ExpWide(u.LogProb(t, u.y[i]))));
      row[i] = posterior(alpha[i], suffix);
    }
    __syncthreads();  // `to` is complete, `from` is free
    const DeviceRow done = from;
    from = to;
    to = done;
  }
}

// grid: (batch * frames); shared: blockDim doubles. The thread of the first of several equal labels adds up
// their posteriors along the chain `next`, so the order of summation is fixed.
template <class Scalar>
__global__ void ComputeGradient(Batch<Scalar> batch, double* memory, const float* posteriors,
                                const Scalar* upstream, Scalar* grad, int64_t grad_stride_t,
                                int64_t grad_stride_n) {
  CTC_SHARED(double, shared);
  const DeviceItem<Scalar> u(batch, blockIdx.x / batch.frames, memory);
  const int64_t t = blockIdx.x % batch.frames;
  Scalar* row = grad + t * grad_stride_t + u.n * grad_stride_n;
  const double total_m = u.state.total()[0], total_e = u.state.total()[1];
  const bool valid = total_m > 0, inside = valid && t < u.frames && total_e >= kZero / 2;
  const double weight = upstream[u.n];
  const bool is_nan = !valid && (t < u.frames || !u.LengthsFit());
  const Scalar* x = u.row(t);
  const Scalar max = static_cast<Scalar>(u.state.norm(t)[0]),
               log_rest = static_cast<Scalar>(u.state.norm(t)[1]);
  for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) {
    Scalar value = is_nan ? static_cast<Scalar>(NAN) : 0;
    if (inside && batch.logits) value = static_cast<Scalar>(weight) * ExpPlain((x[v] - max) - log_rest);
    row[v] = value;
  }
  if (!inside) return;
  const float* occupied = u.posteriors(posteriors, t);
  double blank = 0;
  for (int64_t i = threadIdx.x; i <= u.size; i += blockDim.x) blank += occupied[u.size + i];
  blank = ReduceBlock(blank, shared, AddOp{});  // its barriers also complete the row
  if (threadIdx.x == 0) row[batch.blank] -= static_cast<Scalar>(weight * blank);
  for (int64_t i = threadIdx.x; i < u.size; i += blockDim.x) {
    if (!u.state.first()[i]) continue;
    double sum = 0;
    for (int64_t k = i; k >= 0; k = u.state.next()[k]) sum += occupied[k];
    row[u.y[i]] -= static_cast<Scalar>(weight * sum);
  }
}

}  // namespace asr::ctc
