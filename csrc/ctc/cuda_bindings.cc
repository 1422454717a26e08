// The Python module asr._ctc_cuda: all addresses lie in the GPU's memory; `stream` is a cudaStream_t.

#include "batch_binding.h"
#include "cuda.h"

namespace nb = nanobind;

namespace {

template <class Scalar>
void define(nb::module_& m, const char* name) {
  using namespace nb::literals;
  using ctc::at;
  using Batch = ctc::Batch<Scalar>;
  ctc::define_batch<Scalar>(m, name)
      .def(
          "forward",
          [](const Batch& self, uintptr_t losses, uintptr_t state, uintptr_t stream) {
            ctc::gpu_forward(self, at<Scalar>(losses), at<double>(state), at<void>(stream));
          },
          "losses"_a, "state"_a, "stream"_a, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "backward",
          [](const Batch& self, uintptr_t state, uintptr_t posteriors, uintptr_t upstream, uintptr_t grad,
             int64_t stride_t, int64_t stride_n, uintptr_t stream) {
            ctc::gpu_backward(self, at<double>(state), at<float>(posteriors), at<const Scalar>(upstream),
                              at<Scalar>(grad), stride_t, stride_n, at<void>(stream));
          },
          "state"_a, "posteriors"_a, "upstream"_a, "grad"_a, "stride_t"_a, "stride_n"_a, "stream"_a,
          nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

NB_MODULE(_ctc_cuda, m) {
  m.doc() = "CTC on a GPU. Use asr.criteria, which checks shapes.";
  m.def("state_size", &ctc::gpu_state_size, nb::arg("frames"), nb::arg("longest_target"),
        "64-bit words of state an utterance needs.");
  define<float>(m, "FloatBatch");
  define<double>(m, "DoubleBatch");
}
