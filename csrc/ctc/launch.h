// Launches the four kernels in order, on a GPU stream (cuda.cu) or in the emulation (emulated.cc).
//
// All grids are along x, whose limit is 2^31 - 1 blocks; along y it is 65,535, which a batch of short
// utterances exceeds.
#pragma once

#include "kernels.cuh"

namespace asr::ctc {

// `launch(kernel, blocks, threads, shared_bytes, arguments...)` launches a kernel.
template <class Scalar, class Launch>
void LaunchForward(const Batch<Scalar>& batch, Scalar* losses, double* state, BlockShape shape,
                   Launch launch) {
  const unsigned blocks = NumRows(batch.frames, batch.batch), utterances = static_cast<unsigned>(batch.batch);
  const int64_t sums = shape.threads * sizeof(double);
  const int64_t rows = 2 * DeviceState::RowWords(batch.longest_target) * sizeof(double);
  const bool shared = sums + rows <= shape.shared_bytes;
  if (blocks > 0) launch(NormalizeRows<Scalar>, blocks, shape.threads, sums, batch, state);
  launch(ComputeAlpha<Scalar>, utterances, shape.threads, sums + (shared ? rows : 0), batch, state, losses,
         shared);
}

template <class Scalar, class Launch>
void LaunchBackward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                    Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, BlockShape shape,
                    Launch launch) {
  const unsigned blocks = NumRows(batch.frames, batch.batch), utterances = static_cast<unsigned>(batch.batch);
  const int64_t sums = shape.threads * sizeof(double);
  const int64_t rows = 2 * DeviceState::RowWords(batch.longest_target) * sizeof(double);
  const bool shared = rows <= shape.shared_bytes;
  launch(ComputeOccupancy<Scalar>, utterances, shape.threads, shared ? rows : 0, batch, state, posteriors,
         shared);
  if (blocks > 0)
    launch(ComputeGradient<Scalar>, blocks, shape.threads, sums, batch, state, posteriors, upstream, grad,
           grad_stride_t, grad_stride_n);
}

}  // namespace asr::ctc
