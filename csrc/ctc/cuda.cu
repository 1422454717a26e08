// The kernels of kernels.cuh on the caller's stream.

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cuda.h"
#include "launch.h"

namespace ctc {
namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// A thread a label, up to what the registers of a kernel allow.
Shape shape(int64_t longest_target) {
  unsigned threads = 64;
  while (threads < 512 && threads < longest_target + 1) threads *= 2;
  return {threads, device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
}

struct Start {
  cudaStream_t stream;

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), unsigned x, unsigned y, unsigned threads,
                  int64_t shared_bytes, const Arguments&... arguments) const {
    constexpr int64_t kWithoutAsking = 48 << 10;
    const void* function = reinterpret_cast<const void*>(kernel);
    const auto limit = cudaFuncAttributeMaxDynamicSharedMemorySize;
    if (shared_bytes > kWithoutAsking)
      check(cudaFuncSetAttribute(function, limit, static_cast<int>(shared_bytes)));
    kernel<<<dim3(x, y), threads, static_cast<size_t>(shared_bytes), stream>>>(arguments...);
    check(cudaGetLastError());
  }
};

}  // namespace

int64_t gpu_state_size(int64_t frames, int64_t longest_target) {
  return DeviceState::words(frames, longest_target);
}

template <class Scalar>
void gpu_forward(const Batch<Scalar>& batch, Scalar* losses, double* state, void* stream) {
  const Start start{static_cast<cudaStream_t>(stream)};
  if (batch.batch > 0) launch_forward(batch, losses, state, shape(batch.longest_target), start);
}

template <class Scalar>
void gpu_backward(const Batch<Scalar>& batch, double* state, float* posteriors, const Scalar* upstream,
                  Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, void* stream) {
  const Start start{static_cast<cudaStream_t>(stream)};
  if (batch.batch > 0)
    launch_backward(batch, state, posteriors, upstream, grad, grad_stride_t, grad_stride_n,
                    shape(batch.longest_target), start);
}

#define CTC_INSTANTIATE_GPU(Scalar)                                                                  \
  template void gpu_forward(const Batch<Scalar>&, Scalar*, double*, void*);                          \
  template void gpu_backward(const Batch<Scalar>&, double*, float*, const Scalar*, Scalar*, int64_t, \
                             int64_t, void*);
CTC_INSTANTIATE_GPU(float)
CTC_INSTANTIATE_GPU(double)

}  // namespace ctc
