// The total weight of all paths on a GPU; totals.cc has the same on a CPU. All pointers are to GPU memory.
#pragma once

#include "totals_batch.h"

namespace asr::ctc {

// Enqueues the kernels on `stream` (a cudaStream_t) and returns at once, without allocation or
// synchronisation. memory: batch.StateWords() per utterance; occupancy: zero on entry, or null. Throws
// std::runtime_error with CUDA's message if a kernel cannot be launched.
template <class Scalar>
void GpuTotals(const TotalsBatch<Scalar>& batch, double* memory, double* totals, Scalar* occupancy,
               int64_t stride_t, int64_t stride_n, void* stream);

}  // namespace asr::ctc
