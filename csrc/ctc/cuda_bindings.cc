// Python module `asr._ctc_cuda`; asr/criteria/ is its Python face. All addresses are in GPU memory; `stream`
// is a cudaStream_t.
#include "batch_binding.h"
#include "cuda.h"

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

}  // namespace
}  // namespace asr::ctc

NB_MODULE(_ctc_cuda, m) {
  m.doc() = "CTC on a GPU. Call it through asr.criteria, which checks shapes.";
  m.def("has_kernels", &asr::ctc::HasKernels, "Whether the kernels are compiled for the current device.");
  m.def("state_size", &asr::ctc::GpuStateSize, nb::arg("frames"), nb::arg("longest_target"),
        "Number of 64-bit words of state per utterance.");
  asr::ctc::BindBatch<float>(m, "FloatBatch");
  asr::ctc::BindBatch<double>(m, "DoubleBatch");
}
