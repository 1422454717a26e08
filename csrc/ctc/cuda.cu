// The kernels of kernels.cuh, launched on the caller's stream.
#include "cuda.h"
#include "launch.h"
#include "stream_launcher.cuh"

namespace asr::ctc {

bool HasKernels() {
  cudaFuncAttributes attributes;
  const auto status = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(ComputeAlpha<float>));
  cudaGetLastError();  // the status must not appear as the error of a later launch
  return status == cudaSuccess;
}

int64_t GpuStateSize(int64_t frames, int64_t longest_target) {
  return DeviceState::NumWords(frames, longest_target);
}

template <class Scalar>
void GpuForward(const Batch<Scalar>& batch, Scalar* losses, double* state, void* stream) {
  if (batch.batch == 0) return;
  const BlockShape shape = ChooseShape(batch.longest_target + 1);  // one thread per label
  const StreamLauncher launch{static_cast<cudaStream_t>(stream), shape.shared_bytes};
  LaunchForward(batch, losses, state, shape, launch);
}

template <class Scalar>
void GpuBackward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                 Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, void* stream) {
  if (batch.batch == 0) return;
  const BlockShape shape = ChooseShape(batch.longest_target + 1);  // one thread per label
  const StreamLauncher launch{static_cast<cudaStream_t>(stream), shape.shared_bytes};
  LaunchBackward(batch, state, posteriors, upstream, grad, grad_stride_t, grad_stride_n, shape, launch);
}

#define CTC_INSTANTIATE_GPU(Scalar)                                                                          \
  template void GpuForward(const Batch<Scalar>&, Scalar*, double*, void*);                                   \
  template void GpuBackward(const Batch<Scalar>&, double*, float*, const Scalar*, Scalar*, int64_t, int64_t, \
                            void*);
CTC_INSTANTIATE_GPU(float)
CTC_INSTANTIATE_GPU(double)

}  // namespace asr::ctc
