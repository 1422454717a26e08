// The Python module asr._ctc: results are written to addresses of the caller's.

#include "batch_binding.h"

namespace nb = nanobind;

namespace {

template <class Scalar>
void check(const ctc::Batch<Scalar>& batch) {
  const std::string fault = ctc::fault(batch);
  if (!fault.empty()) throw std::invalid_argument(fault);
}

template <class Scalar>
void define(nb::module_& m, const char* name) {
  using namespace nb::literals;
  using ctc::at;
  using Batch = ctc::Batch<Scalar>;
  ctc::define_batch<Scalar>(m, name)
      .def(
          "forward",
          [](const Batch& self, uintptr_t losses, uintptr_t state, int64_t state_words, int threads) {
            check(self);
            ctc::forward(self, at<Scalar>(losses), at<double>(state), state_words, threads);
          },
          "losses"_a, "state"_a, "state_words"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Writes losses (N,) and, unless it is 0, state (N, state_words). Raises ValueError for a length or "
          "label "
          "that does not fit.")
      .def(
          "backward",
          [](const Batch& self, uintptr_t state, int64_t state_words, uintptr_t upstream, uintptr_t grad,
             int64_t stride_t, int64_t stride_n, int threads) {
            ctc::backward(self, at<double>(state), state_words, at<const Scalar>(upstream), at<Scalar>(grad),
                          stride_t, stride_n, threads);
          },
          "state"_a, "state_words"_a, "upstream"_a, "grad"_a, "stride_t"_a, "stride_n"_a, "threads"_a,
          nb::call_guard<nb::gil_scoped_release>(),
          "Writes upstream[n] * d losses[n] / d x into grad (T, N, V), whose last axis is packed.")
      .def(
          "align",
          [](const Batch& self, uintptr_t paths, uintptr_t scores, int threads) {
            check(self);
            ctc::align(self, at<int64_t>(paths), at<Scalar>(scores), threads);
          },
          "paths"_a, "scores"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Writes the likeliest alignment into paths (N, T) and its log-probabilities into scores (N, T). "
          "Raises "
          "ValueError as forward does.");
}

}  // namespace

NB_MODULE(_ctc, m) {
  m.doc() = "CTC on the CPU. Use asr.criteria, which checks shapes.";
  m.def("state_size", &ctc::state_size, nb::arg("frames"), nb::arg("batch"), nb::arg("vocabulary"),
        nb::arg("longest_target"), nb::arg("threads"), "64-bit words of state an utterance needs.");
  define<float>(m, "FloatBatch");
  define<double>(m, "DoubleBatch");
}
