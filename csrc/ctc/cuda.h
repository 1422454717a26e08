// CTC loss and gradient on a GPU, as cpu.cc does them on a CPU: all pointers lie in the GPU's memory.
#ifndef CTC_CUDA_H_
#define CTC_CUDA_H_

#include "ctc.h"

namespace ctc {

// 8-byte words of state of an utterance.
int64_t gpu_state_size(int64_t frames, int64_t longest_target);

// Both put their kernels into `stream` (a cudaStream_t) and return at once: no allocation, no
// synchronisation. Throw std::runtime_error with CUDA's message if the kernels cannot be started.
template <class Scalar>
void gpu_forward(const Batch<Scalar>& batch, Scalar* losses, double* state, void* stream);

template <class Scalar>
void gpu_backward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                  Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, void* stream);

}  // namespace ctc

#endif  // CTC_CUDA_H_
