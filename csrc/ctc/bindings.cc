// Python module `asr._ctc`; asr/criteria/ is its Python face. Results are written to addresses that the
// caller passes.
#include "acceptor_binding.h"
#include "batch_binding.h"

namespace nb = nanobind;

namespace asr::ctc {
namespace {

template <class Scalar>
void BindBatch(nb::module_& m, const char* name) {
  using namespace nb::literals;
  DefineBatch<Scalar>(m, name)
      .def(
          "forward",
          [](const Batch<Scalar>& self, uintptr_t losses, uintptr_t state, int64_t state_words, int threads) {
            Check(self);
            Forward(self, At<Scalar>(losses), At<double>(state), state_words, threads);
          },
          "losses"_a, "state"_a, "state_words"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Writes losses (N,) and, if state is not 0, state (N, state_words). Raises ValueError for a length "
          "or label that is out of range.")
      .def(
          "backward",
          [](const Batch<Scalar>& self, uintptr_t state, int64_t state_words, uintptr_t upstream,
             uintptr_t grad, int64_t stride_t, int64_t stride_n, int threads) {
            Backward(self, At<double>(state), state_words, At<const Scalar>(upstream), At<Scalar>(grad),
                     stride_t, stride_n, threads);
          },
          "state"_a, "state_words"_a, "upstream"_a, "grad"_a, "stride_t"_a, "stride_n"_a, "threads"_a,
          nb::call_guard<nb::gil_scoped_release>(),
          "Writes upstream[n] * d losses[n] / d x into grad (T, N, V), whose last axis is contiguous.")
      .def(
          "align",
          [](const Batch<Scalar>& self, uintptr_t paths, uintptr_t scores, int threads) {
            Check(self);
            Align(self, At<int64_t>(paths), At<Scalar>(scores), threads);
          },
          "paths"_a, "scores"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Writes the most probable alignment into paths (N, T) and its log-probs into scores (N, T). Raises "
          "ValueError as forward does.");
}

}  // namespace
}  // namespace asr::ctc

NB_MODULE(_ctc, m) {
  m.doc() = "CTC and acceptors on the CPU. Call it through asr.criteria, which checks shapes.";
  m.def("state_size", &asr::ctc::StateSize, nb::arg("frames"), nb::arg("batch"), nb::arg("vocabulary"),
        nb::arg("longest_target"), nb::arg("threads"), "Number of 64-bit words of state per utterance.");
  asr::ctc::BindBatch<float>(m, "FloatBatch");
  asr::ctc::BindBatch<double>(m, "DoubleBatch");
  asr::ctc::BindAcceptor(m);
}
