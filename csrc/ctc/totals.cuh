// The total weight of all paths of acceptors on a GPU, in three kernels. The sums are those of totals.cc with
// unlimited numbers (`Exact`); packed.h has the order of states and arcs.
//
//   SumForward   one block per utterance, loop over frames   alpha, the total
//   SumBackward  one block per utterance, loop over frames   beta, the posterior of each state
//   SumLabels    one block per frame of an utterance         the posterior of each label
//
// A state's sum is gathered, forward over the arcs that enter it and backward over those that leave it, in
// two steps: each thread sums one chunk of arcs, then one state's chunks. Nothing is scattered, so there are
// no atomics and results are bit-identical from run to run. emulation.h runs this source on a CPU.
#pragma once

#include "device.cuh"
#include "packed.h"
#include "totals_batch.h"

namespace asr::ctc {

// Utterance n of a batch, as seen by a block.
template <class Scalar>
struct TotalsItem {
  const TotalsBatch<Scalar>& batch;
  int64_t n, frames;
  PackedAcceptor graph;
  double* memory;
  bool goes_back;

  __device__ TotalsItem(const TotalsBatch<Scalar>& batch, int64_t n, double* memory, bool goes_back)
      : batch(batch),
        n(n),
        frames(batch.lengths[n]),
        graph{reinterpret_cast<const char*>(batch.graphs + batch.offsets[n])},
        memory(memory + n * batch.StateWords(goes_back)),
        goes_back(goes_back) {}

  __device__ double LogProb(int64_t t, int64_t v) const {
    return static_cast<double>(batch.x[t * batch.stride_t + n * batch.stride_n + v]);
  }
  // mantissa (NaN if the utterance is invalid) and exponent
  __device__ Wide<double> total() const { return {memory[0], static_cast<int64_t>(memory[1])}; }
  // One number per state that consumes frame t: first alpha as a PackedWide, then its posterior.
  __device__ double* row(int64_t t) const { return memory + 2 + t * batch.num_emitting; }
  __device__ Wide<double>* scratch() const {
    return reinterpret_cast<Wide<double>*>(memory + batch.StateWords(goes_back) - batch.ScratchWords());
  }
};

struct SumOp {
  CTC_INLINE Wide<double> operator()(Wide<double> a, Wide<double> b) const { return Sum(a, b); }
};

// sums[k]: the sum of chunk k of the states first..last - 1 over the values at the other ends of its arcs.
__device__ void SumChunks(const PackedArcs& a, int32_t first, int32_t last, const Wide<double>* values,
                          Wide<double>* sums) {
  const int32_t end = a.chunk_first[last];
  for (int32_t k = a.chunk_first[first] + static_cast<int32_t>(threadIdx.x); k < end;
       k += static_cast<int32_t>(blockDim.x)) {
    const int32_t s = a.chunk_state[k], step = a.chunk_first[s + 1] - a.chunk_first[s];
    Wide<double> sum{1, kZero};
    for (int32_t i = a.first[s] + k - a.chunk_first[s]; i < a.first[s + 1]; i += step) {
      const PackedArc arc = a.arcs[i];
      const Wide<double> value = values[arc.state];
      sum = Sum(sum, Wide<double>{arc.m * value.m, arc.e + value.e});
    }
    sums[k] = sum;
  }
}

// The sum of state s, from those of its chunks.
__device__ Wide<double> SumState(const PackedArcs& a, int32_t s, const Wide<double>* sums) {
  Wide<double> sum{1, kZero};
  for (int32_t k = a.chunk_first[s]; k < a.chunk_first[s + 1]; ++k) sum = Sum(sum, sums[k]);
  return Normalize(sum.m, sum.e);
}

// The states of a level that consume no frame, in place.
__device__ void SumLevel(const PackedArcs& a, int32_t first, int32_t last, Wide<double>* values,
                         Wide<double>* sums) {
  SumChunks(a, first, last, values, sums);
  __syncthreads();
  for (int32_t s = first + static_cast<int32_t>(threadIdx.x); s < last; s += static_cast<int32_t>(blockDim.x))
    values[s] = SumState(a, s, sums);
  __syncthreads();
}

// grid: (batch); shared: 2 blockDim doubles and, if scratch_shared, the scratch.
template <class Scalar>
__global__ void SumForward(TotalsBatch<Scalar> batch, double* memory, double* totals, bool goes_back,
                           bool scratch_shared) {
  CTC_SHARED(double, shared);
  const TotalsItem<Scalar> u(batch, blockIdx.x, memory, goes_back);
  const PackedHeader& graph = u.graph.header();
  const PackedArcs arcs = u.graph.in();
  const int32_t *levels = u.graph.levels(), *labels = u.graph.labels();
  const int32_t num_emitting = static_cast<int32_t>(graph.num_emitting), me = threadIdx.x, all = blockDim.x;
  Wide<double>* from =
      scratch_shared ? reinterpret_cast<Wide<double>*>(shared + 2 * blockDim.x) : u.scratch();
  Wide<double>* to = from + batch.num_states;
  Wide<double>* sums = to + batch.num_states;
  for (int32_t s = me; s < graph.num_states; s += all) from[s] = u.graph.start()[s];
  __syncthreads();
  double invalid = 0;
  for (int64_t t = 0; t < u.frames; ++t) {
    SumChunks(arcs, 0, num_emitting, from, sums);
    __syncthreads();
    for (int32_t s = me; s < num_emitting; s += all) {
      const double log_prob = u.LogProb(t, labels[s]);
      invalid += !(log_prob < kHighest);
      const Wide<double> alpha = Multiply(SumState(arcs, s, sums), ExpWide(log_prob));
      to[s] = alpha;
      if (goes_back)
        u.row(t)[s] = BitCast<double>(PackedWide{static_cast<float>(alpha.m), static_cast<int32_t>(alpha.e)});
    }
    __syncthreads();
    for (int64_t level = 1; level < graph.num_levels; ++level)
      SumLevel(arcs, levels[level], levels[level + 1], to, sums);
    Wide<double>* done = from;
    from = to;
    to = done;
  }
  Wide<double> sum{1, kZero};
  for (int32_t s = me; u.frames > 0 && s < num_emitting; s += all) {
    const Wide<double> end = u.graph.end()[s];
    sum = Sum(sum, Wide<double>{from[s].m * end.m, from[s].e + end.e});
  }
  sum = ReduceBlock(sum, reinterpret_cast<Wide<double>*>(shared), SumOp{});
  invalid = ReduceBlock(invalid, shared, AddOp{});
  if (me > 0) return;
  const Wide<double> total = Normalize(sum.m, sum.e);
  u.memory[0] = invalid > 0 ? NAN : total.m;
  u.memory[1] = static_cast<double>(total.e);
  totals[u.n] = u.frames == 0 ? graph.log_empty : IsZero(total) ? -INFINITY : Log(total);
  if (invalid > 0) totals[u.n] = NAN;
}

// Takes beta of state s in frame t: its posterior replaces alpha. Returns beta times the emission.
template <class Scalar>
__device__ Wide<double> TakeBeta(const TotalsItem<Scalar>& u, int64_t t, int32_t s, Wide<double> beta,
                                 Wide<double> total) {
  double* place = u.row(t) + s;
  const PackedWide alpha = BitCast<PackedWide>(*place);
  *place = alpha.m * beta.m / total.m * Pow2<double>(alpha.e + beta.e - total.e);
  return Multiply(beta, ExpWide(u.LogProb(t, u.graph.labels()[s])));
}

// grid: (batch); shared: the scratch if scratch_shared.
template <class Scalar>
__global__ void SumBackward(TotalsBatch<Scalar> batch, double* memory, bool scratch_shared) {
  CTC_SHARED(double, shared);
  const TotalsItem<Scalar> u(batch, blockIdx.x, memory, true);
  const Wide<double> total = u.total();
  if (!(total.m > 0) || IsZero(total) || u.frames == 0) return;  // invalid, no path, or no frame
  const PackedHeader& graph = u.graph.header();
  const PackedArcs arcs = u.graph.out();
  const int32_t* levels = u.graph.levels();
  const int32_t num_emitting = static_cast<int32_t>(graph.num_emitting), me = threadIdx.x, all = blockDim.x;
  Wide<double>* from = scratch_shared ? reinterpret_cast<Wide<double>*>(shared) : u.scratch();
  Wide<double>* to = from + batch.num_states;
  Wide<double>* sums = to + batch.num_states;
  for (int32_t s = me; s < num_emitting; s += all)
    from[s] = TakeBeta(u, u.frames - 1, s, u.graph.end()[s], total);
  __syncthreads();
  for (int64_t t = u.frames - 2; t >= 0; --t) {
    for (int64_t level = graph.num_levels - 1; level > 0; --level)
      SumLevel(arcs, levels[level], levels[level + 1], from, sums);
    SumChunks(arcs, 0, num_emitting, from, sums);
    __syncthreads();
    for (int32_t s = me; s < num_emitting; s += all)
      to[s] = TakeBeta(u, t, s, SumState(arcs, s, sums), total);
    __syncthreads();
    Wide<double>* done = from;
    from = to;
    to = done;
  }
}

// grid: (batch * frames), an utterance's frames in a row. occupancy is zero on entry.
template <class Scalar>
__global__ void SumLabels(TotalsBatch<Scalar> batch, double* memory, Scalar* occupancy, int64_t stride_t,
                          int64_t stride_n) {
  const TotalsItem<Scalar> u(batch, blockIdx.x / batch.frames, memory, true);
  const int64_t t = blockIdx.x % batch.frames;
  const Wide<double> total = u.total();
  if (t >= u.frames || (total.m > 0 && IsZero(total))) return;
  Scalar* row = occupancy + t * stride_t + u.n * stride_n;
  if (!(total.m > 0)) {
    for (int64_t v = threadIdx.x; v < batch.vocabulary; v += blockDim.x) row[v] = static_cast<Scalar>(NAN);
    return;
  }
  const int32_t *first = u.graph.output_first(), *states = u.graph.output_states();
  const double* posteriors = u.row(t);
  for (int64_t k = threadIdx.x; k < u.graph.header().num_outputs; k += blockDim.x) {
    double sum = 0;
    for (int32_t i = first[k]; i < first[k + 1]; ++i) sum += posteriors[states[i]];
    row[u.graph.outputs()[k]] = static_cast<Scalar>(sum);
  }
}

// Launches the kernels in order, on a GPU stream (totals_cuda.cu) or in the emulation (emulated_totals.cc).
// `launch(kernel, blocks, threads, shared_bytes, arguments...)` launches a kernel. memory: StateWords per
// utterance. occupancy: null if not asked for, else zero.
template <class Scalar, class Launch>
void LaunchTotals(const TotalsBatch<Scalar>& batch, double* memory, double* totals, Scalar* occupancy,
                  int64_t stride_t, int64_t stride_n, BlockShape shape, Launch launch) {
  const unsigned blocks = NumRows(batch.frames, batch.batch), utterances = static_cast<unsigned>(batch.batch);
  const bool goes_back = occupancy != nullptr;
  const int64_t sums = 2 * shape.threads * sizeof(double), scratch = batch.ScratchWords() * sizeof(double);
  const bool shared = sums + scratch <= shape.shared_bytes;
  launch(SumForward<Scalar>, utterances, shape.threads, sums + (shared ? scratch : 0), batch, memory, totals,
         goes_back, shared);
  if (!goes_back || blocks == 0) return;
  launch(SumBackward<Scalar>, utterances, shape.threads, shared ? scratch : 0, batch, memory, shared);
  launch(SumLabels<Scalar>, blocks, shape.threads, 0, batch, memory, occupancy, stride_t, stride_n);
}

}  // namespace asr::ctc
