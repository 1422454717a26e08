// CTC loss and gradient on a GPU; cpu.cc has the same on a CPU. All pointers are to GPU memory.
#pragma once

#include "ctc.h"

namespace asr::ctc {

// Whether the kernels are compiled for the current device, whose architecture may be older.
bool HasKernels();

// Number of 8-byte words of state per utterance.
int64_t GpuStateSize(int64_t frames, int64_t longest_target);

// Both enqueue their kernels on `stream` (a cudaStream_t) and return at once, without allocation or
// synchronisation. They throw std::runtime_error with CUDA's message if a kernel cannot be launched.
template <class Scalar>
void GpuForward(const Batch<Scalar>& batch, Scalar* losses, double* state, void* stream);

template <class Scalar>
void GpuBackward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                 Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, void* stream);

}  // namespace asr::ctc
