// The kernels of totals.cuh under emulation, as a C library that the tests compile and call.
#include "totals.cuh"

namespace asr::ctc {
namespace {

constexpr int kNumSites = __COUNTER__ - emulation::kFirstSite;

template <class Scalar>
int RunEmulated(const TotalsBatch<Scalar>& batch, BlockShape shape, int order, int disabled_site,
                double* totals, Scalar* occupancy, int64_t stride_t, int64_t stride_n) {
  std::vector<double> memory(static_cast<size_t>(batch.StateWords(occupancy != nullptr) * batch.batch), NAN);
  return emulation::Run(order, disabled_site, [&] {
    LaunchTotals(batch, memory.data(), totals, occupancy, stride_t, stride_n, shape, emulation::launch);
  });
}

}  // namespace
}  // namespace asr::ctc

// Returns 0, or 1 if the threads of a block diverged at barriers.
#define CTC_EMULATED_TOTALS(Scalar)                                                                          \
  extern "C" int totals_##Scalar(const Scalar* x, int64_t frames, int64_t batch, int64_t vocabulary,         \
                                 int64_t x_stride_t, int64_t x_stride_n, const int64_t* lengths,             \
                                 const int64_t* graphs, const int64_t* offsets, int64_t num_emitting,        \
                                 int64_t num_states, int64_t num_chunks, double* totals, Scalar* occupancy,  \
                                 int64_t stride_t, int64_t stride_n, unsigned threads, int64_t shared_bytes, \
                                 int order, int disabled_site) {                                             \
    return asr::ctc::RunEmulated<Scalar>({x, frames, batch, vocabulary, x_stride_t, x_stride_n, lengths,     \
                                          graphs, offsets, num_emitting, num_states, num_chunks},            \
                                         {threads, shared_bytes}, order, disabled_site, totals, occupancy,   \
                                         stride_t, stride_n);                                                \
  }
CTC_EMULATED_TOTALS(float)
CTC_EMULATED_TOTALS(double)

extern "C" int totals_barriers() { return asr::ctc::kNumSites; }
