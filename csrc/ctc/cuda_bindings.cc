// Python module `asr._ctc_cuda`; asr/criteria/ is its Python face. All addresses are in GPU memory; `stream`
// is a cudaStream_t.
#include "batch_binding.h"
#include "cuda.h"
#include "totals_cuda.h"

namespace nb = nanobind;

namespace asr::ctc {
namespace {

template <class Scalar>
void BindBatch(nb::module_& m, const char* name) {
  using namespace nb::literals;
  DefineBatch<Scalar>(m, name)
      .def(
          "forward",
          [](const Batch<Scalar>& self, uintptr_t losses, uintptr_t state, uintptr_t stream) {
            GpuForward(self, At<Scalar>(losses), At<double>(state), At<void>(stream));
          },
          "losses"_a, "state"_a, "stream"_a, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "backward",
          [](const Batch<Scalar>& self, uintptr_t state, uintptr_t posteriors, uintptr_t upstream,
             uintptr_t grad, int64_t stride_t, int64_t stride_n, uintptr_t stream) {
            GpuBackward(self, At<double>(state), At<float>(posteriors), At<const Scalar>(upstream),
                        At<Scalar>(grad), stride_t, stride_n, At<void>(stream));
          },
          "state"_a, "posteriors"_a, "upstream"_a, "grad"_a, "stride_t"_a, "stride_n"_a, "stream"_a,
          nb::call_guard<nb::gil_scoped_release>());
}

template <class Scalar>
void BindTotals(nb::module_& m, const char* name) {
  using namespace nb::literals;
  nb::class_<TotalsBatch<Scalar>>(m, name, "Net outputs and packed acceptors, given by their addresses.")
      .def(
          "__init__",
          [](TotalsBatch<Scalar>* self, uintptr_t x, int64_t frames, int64_t batch, int64_t vocabulary,
             int64_t stride_t, int64_t stride_n, uintptr_t lengths, uintptr_t graphs, uintptr_t offsets,
             int64_t num_emitting, int64_t num_states, int64_t num_chunks) {
            new (self) TotalsBatch<Scalar>{At<const Scalar>(x),
                                           frames,
                                           batch,
                                           vocabulary,
                                           stride_t,
                                           stride_n,
                                           At<const int64_t>(lengths),
                                           At<const int64_t>(graphs),
                                           At<const int64_t>(offsets),
                                           num_emitting,
                                           num_states,
                                           num_chunks};
          },
          "x"_a, "frames"_a, "batch"_a, "vocabulary"_a, "stride_t"_a, "stride_n"_a, "lengths"_a, "graphs"_a,
          "offsets"_a, "num_emitting"_a, "num_states"_a, "num_chunks"_a)
      .def("state_words", &TotalsBatch<Scalar>::StateWords, "goes_back"_a,
           "Number of 64-bit words of memory per utterance.")
      .def(
          "run",
          [](const TotalsBatch<Scalar>& self, uintptr_t memory, uintptr_t totals, uintptr_t occupancy,
             int64_t stride_t, int64_t stride_n, uintptr_t stream) {
            GpuTotals(self, At<double>(memory), At<double>(totals), At<Scalar>(occupancy), stride_t, stride_n,
                      At<void>(stream));
          },
          "memory"_a, "totals"_a, "occupancy"_a, "stride_t"_a, "stride_n"_a, "stream"_a,
          nb::call_guard<nb::gil_scoped_release>(),
          "Writes totals (N,) and, if its address is not 0, occupancy (T, N, V), which must be zero.");
}

}  // namespace
}  // namespace asr::ctc

NB_MODULE(_ctc_cuda, m) {
  m.doc() = "CTC and acceptors on a GPU. Call it through asr.criteria, which checks shapes.";
  m.def("has_kernels", &asr::ctc::HasKernels, "Whether the kernels are compiled for the current device.");
  m.def("state_size", &asr::ctc::GpuStateSize, nb::arg("frames"), nb::arg("longest_target"),
        "Number of 64-bit words of state per utterance.");
  asr::ctc::BindBatch<float>(m, "FloatBatch");
  asr::ctc::BindBatch<double>(m, "DoubleBatch");
  asr::ctc::BindTotals<float>(m, "FloatTotals");
  asr::ctc::BindTotals<double>(m, "DoubleTotals");
}
