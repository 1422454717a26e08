// What the kernels of kernels.cuh and totals.cuh share. emulation.h runs both on a CPU.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "wide.h"

#ifdef __CUDACC__
#define CTC_SHARED(Type, name) extern __shared__ Type name[]
#else
#include "emulation.h"
#endif

namespace asr::ctc {

// The number of threads per block, a power of two, and the limit on its shared memory.
struct BlockShape {
  unsigned threads;
  int64_t shared_bytes;
};

// The number of blocks for every frame of every utterance. Throws std::invalid_argument if one grid cannot
// have so many.
inline unsigned NumRows(int64_t frames, int64_t batch) {
  constexpr int64_t kMaxGrid = (int64_t{1} << 31) - 1;
  if (batch > kMaxGrid || frames > kMaxGrid / std::max<int64_t>(batch, 1))
    throw std::invalid_argument("x has 2^31 or more frames in all; split the batch");
  return static_cast<unsigned>(frames * batch);
}

// A Wide<double> in 8 bytes. The recursions use double, so that 1 - 1e-7 in a confident frame is not rounded
// to 1. The values stored for every frame are float: their relative error of 6e-8 enters each posterior only
// once.
struct PackedWide {
  float m;
  int32_t e;
};

// Returns the sum or maximum over the block to every thread; `shared` has one element per thread.
template <class T, class Combine>
__device__ T ReduceBlock(T value, T* shared, Combine combine) {
  __syncthreads();  // no thread uses the old contents of `shared` any more
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {  // blockDim.x is a power of two
    if (threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  return shared[0];
}

struct AddOp {
  CTC_INLINE double operator()(double a, double b) const { return a + b; }
};
struct MaxOp {
  CTC_INLINE double operator()(double a, double b) const { return Max(a, b); }
};

}  // namespace asr::ctc
