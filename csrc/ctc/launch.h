// Launches the four kernels in order, on a GPU stream (cuda.cu) or in the emulation (emulated.cc).
#pragma once

#include "kernels.cuh"

namespace asr::ctc {

// The number of threads per block, a power of two, and the limit on its shared memory.
struct BlockShape {
  unsigned threads;
  int64_t shared_bytes;
};

// `launch(kernel, grid_x, grid_y, threads, shared_bytes, arguments...)` launches a kernel.
template <class Scalar, class Launch>
void LaunchForward(const Batch<Scalar>& batch, Scalar* losses, double* state, BlockShape shape,
                   Launch launch) {
  const unsigned frames = static_cast<unsigned>(batch.frames),
                 utterances = static_cast<unsigned>(batch.batch);
  const int64_t sums = shape.threads * sizeof(double);
  const int64_t rows = 2 * DeviceState::RowWords(batch.longest_target) * sizeof(double);
  const bool shared = sums + rows <= shape.shared_bytes;
  if (frames > 0) launch(NormalizeRows<Scalar>, frames, utterances, shape.threads, sums, batch, state);
  launch(ComputeAlpha<Scalar>, utterances, 1u, shape.threads, sums + (shared ? rows : 0), batch, state,
         losses, shared);
}

template <class Scalar, class Launch>
void LaunchBackward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                    Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, BlockShape shape,
                    Launch launch) {
  const unsigned frames = static_cast<unsigned>(batch.frames),
                 utterances = static_cast<unsigned>(batch.batch);
  const int64_t sums = shape.threads * sizeof(double);
  const int64_t rows = 2 * DeviceState::RowWords(batch.longest_target) * sizeof(double);
  const bool shared = rows <= shape.shared_bytes;
  launch(ComputeOccupancy<Scalar>, utterances, 1u, shape.threads, shared ? rows : 0, batch, state, posteriors,
         shared);
  if (frames > 0)
    launch(ComputeGradient<Scalar>, frames, utterances, shape.threads, sums, batch, state, posteriors,
           upstream, grad, grad_stride_t, grad_stride_n);
}

}  // namespace asr::ctc
