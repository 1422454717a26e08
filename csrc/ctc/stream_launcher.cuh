// Launches kernels on the caller's stream.
#pragma once

#include <string>

#include "device.cuh"

namespace asr::ctc {

inline void CheckCuda(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

inline int DeviceAttribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  CheckCuda(cudaGetDevice(&device));
  CheckCuda(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// One thread per position, up to the number of threads that the kernels' registers allow.
inline BlockShape ChooseShape(int64_t positions) {
  unsigned threads = 64;
  while (threads < 512 && threads < positions) threads *= 2;
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

}  // namespace asr::ctc
