// The Python module asr._ctc_cuda. Tensors come as addresses: DLPack would wait for another stream.

#include <nanobind/nanobind.h>

#include "cuda.h"

namespace nb = nanobind;

namespace {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class Scalar>
void define(nb::module_& m, const char* batch_name) {
  using namespace nb::literals;
  using Batch = ctc::Batch<Scalar>;
  nb::class_<Batch>(m, batch_name, "What ctc.h's Batch holds; addresses lie in the GPU's memory.")
      .def(
          "__init__",
          [](Batch* self, uintptr_t x, int64_t frames, int64_t batch, int64_t vocabulary, int64_t stride_t,
             int64_t stride_n, uintptr_t targets, int64_t longest_target, uintptr_t input_lengths,
             uintptr_t target_lengths, int64_t blank, bool zero_infinity, bool logits) {
            new (self) Batch{at<const Scalar>(x),
                             frames,
                             batch,
                             vocabulary,
                             stride_t,
                             stride_n,
                             at<const int64_t>(targets),
                             longest_target,
                             at<const int64_t>(input_lengths),
                             at<const int64_t>(target_lengths),
                             blank,
                             zero_infinity,
                             logits};
          },
          "x"_a, "frames"_a, "batch"_a, "vocabulary"_a, "stride_t"_a, "stride_n"_a, "targets"_a,
          "longest_target"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a, "zero_infinity"_a, "logits"_a)
      .def(
          "forward",
          [](const Batch& self, uintptr_t losses, uintptr_t state, uintptr_t stream) {
            ctc::gpu_forward(self, at<Scalar>(losses), at<double>(state), at<void>(stream));
          },
          "losses"_a, "state"_a, "stream"_a, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "backward",
          [](const Batch& self, uintptr_t state, uintptr_t upstream, uintptr_t grad, int64_t stride_t,
             int64_t stride_n, uintptr_t stream) {
            ctc::gpu_backward(self, at<double>(state), at<const Scalar>(upstream), at<Scalar>(grad), stride_t,
                              stride_n, at<void>(stream));
          },
          "state"_a, "upstream"_a, "grad"_a, "stride_t"_a, "stride_n"_a, "stream"_a,
          nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

NB_MODULE(_ctc_cuda, m) {
  m.doc() = "CTC loss and gradient on a GPU. Use asr.criteria.ctc, which checks shapes.";
  m.def("state_size", &ctc::gpu_state_size, nb::arg("frames"), nb::arg("batch"), nb::arg("longest_target"),
        "64-bit words of state of a batch.");
  define<float>(m, "FloatBatch");
  define<double>(m, "DoubleBatch");
}
