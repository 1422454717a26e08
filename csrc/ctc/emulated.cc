// The kernels under emulation, as a C library that the tests compile and call.
#include "launch.h"

namespace asr::ctc {
namespace {

constexpr int kNumSites = __COUNTER__ - emulation::kFirstSite;

template <class Scalar>
int RunEmulated(const Batch<Scalar>& batch, BlockShape shape, int order, int disabled_site, Scalar* losses,
                const Scalar* upstream, Scalar* grad) {
  const int64_t words = DeviceState::NumWords(batch.frames, batch.longest_target) * batch.batch;
  std::vector<double> state(static_cast<size_t>(words), NAN);
  const int64_t positions = batch.batch * batch.frames * (2 * batch.longest_target + 1);
  std::vector<float> posteriors(static_cast<size_t>(positions), NAN);
  return emulation::Run(order, disabled_site, [&] {
    LaunchForward(batch, losses, state.data(), shape, emulation::launch);
    for (int repeat = 0; repeat < 2; ++repeat)  // a state serves any number of backward passes
      LaunchBackward(batch, state.data(), posteriors.data(), upstream, grad, batch.batch * batch.vocabulary,
                     batch.vocabulary, shape, emulation::launch);
  });
}

}  // namespace
}  // namespace asr::ctc

// Returns 0, or 1 if the threads of a block diverged at barriers. x and grad: (T, N, V), contiguous.
#define CTC_EMULATED(Scalar)                                                                                 \
  extern "C" int ctc_##Scalar(const Scalar* x, int64_t frames, int64_t batch, int64_t vocabulary,            \
                              const int64_t* targets, int64_t longest, const int64_t* input_lengths,         \
                              const int64_t* target_lengths, int64_t blank, bool zero_infinity, bool logits, \
                              unsigned threads, int64_t shared_bytes, int order, int disabled_site,          \
                              Scalar* losses, const Scalar* upstream, Scalar* grad) {                        \
    return asr::ctc::RunEmulated<Scalar>(                                                                    \
        {x, frames, batch, vocabulary, batch * vocabulary, vocabulary, targets, longest, input_lengths,      \
         target_lengths, blank, zero_infinity, logits},                                                      \
        {threads, shared_bytes}, order, disabled_site, losses, upstream, grad);                              \
  }
CTC_EMULATED(float)
CTC_EMULATED(double)

extern "C" int ctc_barriers() { return asr::ctc::kNumSites; }

// The number of blocks of NormalizeRows, or -1 if it is refused.
extern "C" int ctc_num_rows(int64_t frames, int64_t batch) {
  try {
    return static_cast<int>(asr::ctc::NumRows(frames, batch));
  } catch (const std::invalid_argument&) {
    return -1;
  }
}
