// The kernels of kernels.cuh, launched on the caller's stream.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "cuda.h"
#include "launch.h"

namespace asr::ctc {
namespace {

void CheckCuda(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

int DeviceAttribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  CheckCuda(cudaGetDevice(&device));
  CheckCuda(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// One thread per label, up to the number of threads that the kernels' registers allow.
BlockShape ChooseShape(int64_t longest_target) {
  unsigned threads = 64;
  while (threads < 512 && threads < longest_target + 1) threads *= 2;
  return {threads, DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
}

struct StreamLauncher {
  cudaStream_t stream;
  int64_t max_shared_bytes;  // of a block on this device

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, int64_t shared_bytes,
                  const Arguments&... arguments) const {
    constexpr int64_t kDefaultSharedBytes = 48 << 10;
    const void* function = reinterpret_cast<const void*>(kernel);
    const auto limit = cudaFuncAttributeMaxDynamicSharedMemorySize;
    // Always the device's maximum: with the size of this launch, two threads could lower each other's limit.
    if (shared_bytes > kDefaultSharedBytes)
      CheckCuda(cudaFuncSetAttribute(function, limit, static_cast<int>(max_shared_bytes)));
    kernel<<<blocks, threads, static_cast<size_t>(shared_bytes), stream>>>(arguments...);
    CheckCuda(cudaGetLastError());
  }
};

}  // namespace

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
  const BlockShape shape = ChooseShape(batch.longest_target);
  const StreamLauncher launch{static_cast<cudaStream_t>(stream), shape.shared_bytes};
  LaunchForward(batch, losses, state, shape, launch);
}

template <class Scalar>
void GpuBackward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                 Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, void* stream) {
  if (batch.batch == 0) return;
  const BlockShape shape = ChooseShape(batch.longest_target);
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
