// The four kernels in their order, for whatever starts them: a GPU's stream (cuda.cu) or the emulation.
#ifndef CTC_LAUNCH_H_
#define CTC_LAUNCH_H_

#include "kernels.cuh"

namespace ctc {

// How wide a block is, a power of two, and how much shared memory it may take.
struct Shape {
  unsigned threads;
  int64_t shared_bytes;
};

// `start(kernel, grid_x, grid_y, threads, shared_bytes, arguments...)` starts a kernel.
template <class Scalar, class Start>
void launch_forward(const Batch<Scalar>& batch, Scalar* losses, double* state, Shape shape, Start start) {
  const unsigned frames = static_cast<unsigned>(batch.frames),
                 utterances = static_cast<unsigned>(batch.batch);
  const int64_t sums = shape.threads * sizeof(double);
  const int64_t rows = 2 * DeviceState::row_words(batch.longest_target) * sizeof(double);
  const bool shared = sums + rows <= shape.shared_bytes;
  if (frames > 0) start(normalise_rows<Scalar>, frames, utterances, shape.threads, sums, batch, state);
  start(alpha<Scalar>, utterances, 1u, shape.threads, sums + (shared ? rows : 0), batch, state, losses,
        shared);
}

template <class Scalar, class Start>
void launch_backward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                     Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, Shape shape, Start start) {
  const unsigned frames = static_cast<unsigned>(batch.frames),
                 utterances = static_cast<unsigned>(batch.batch);
  const int64_t sums = shape.threads * sizeof(double);
  const int64_t rows = 2 * DeviceState::row_words(batch.longest_target) * sizeof(double);
  const bool shared = rows <= shape.shared_bytes;
  start(occupancy<Scalar>, utterances, 1u, shape.threads, shared ? rows : 0, batch, state, posteriors,
        shared);
  if (frames > 0)
    start(gradient<Scalar>, frames, utterances, shape.threads, sums, batch, state, posteriors, upstream, grad,
          grad_stride_t, grad_stride_n);
}

}  // namespace ctc

#endif  // CTC_LAUNCH_H_
