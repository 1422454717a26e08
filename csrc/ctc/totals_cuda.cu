// The kernels of totals.cuh, launched on the caller's stream.
#include "stream_launcher.cuh"
#include "totals.cuh"
#include "totals_cuda.h"

namespace asr::ctc {

template <class Scalar>
void GpuTotals(const TotalsBatch<Scalar>& batch, double* memory, double* totals, Scalar* occupancy,
               int64_t stride_t, int64_t stride_n, void* stream) {
  if (batch.batch == 0) return;
  const BlockShape shape = ChooseShape(std::max(batch.num_chunks, batch.num_emitting));
  const StreamLauncher launch{static_cast<cudaStream_t>(stream), shape.shared_bytes};
  LaunchTotals(batch, memory, totals, occupancy, stride_t, stride_n, shape, launch);
}

template void GpuTotals(const TotalsBatch<float>&, double*, double*, float*, int64_t, int64_t, void*);
template void GpuTotals(const TotalsBatch<double>&, double*, double*, double*, int64_t, int64_t, void*);

}  // namespace asr::ctc
