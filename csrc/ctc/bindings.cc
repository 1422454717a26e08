// The Python module asr._ctc: arrays come in by DLPack, results are written into arrays that the caller made.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include "ctc.h"

namespace nb = nanobind;

namespace {

template <class T, int kDims>
using Array = nb::ndarray<T, nb::ndim<kDims>, nb::device::cpu>;
template <class T, int kDims>
using Packed = nb::ndarray<T, nb::ndim<kDims>, nb::c_contig, nb::device::cpu>;
using Ints = Packed<const int64_t, 1>;

template <class Scalar>
ctc::Batch<Scalar> as_batch(const Array<const Scalar, 3>& x, const Packed<const int64_t, 2>& targets,
                            const Ints& input_lengths, const Ints& target_lengths, int64_t blank,
                            bool zero_infinity, bool logits) {
  auto axis = [&](int k) { return static_cast<int64_t>(x.shape(k)); };
  return {x.data(),
          axis(0),
          axis(1),
          axis(2),
          x.stride(0),
          x.stride(1),
          targets.data(),
          static_cast<int64_t>(targets.shape(1)),
          input_lengths.data(),
          target_lengths.data(),
          blank,
          zero_infinity,
          logits};
}

// The state is 64-bit words to Python, since it mixes doubles and integers.
double* memory(const Packed<int64_t, 2>& state) { return reinterpret_cast<double*>(state.data()); }
int64_t words(const Packed<int64_t, 2>& state) { return static_cast<int64_t>(state.shape(1)); }

template <class Scalar>
void define(nb::module_& m) {
  using namespace nb::literals;
  m.def(
      "forward",
      [](Array<const Scalar, 3> x, Packed<const int64_t, 2> targets, Ints input_lengths, Ints target_lengths,
         int64_t blank, bool zero_infinity, bool logits, Packed<Scalar, 1> losses,
         std::optional<Packed<int64_t, 2>> state, int threads) {
        const auto batch =
            as_batch<Scalar>(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits);
        nb::gil_scoped_release release;
        const std::string fault = ctc::fault(batch);
        if (!fault.empty()) throw std::invalid_argument(fault);
        ctc::forward(batch, losses.data(), state ? memory(*state) : nullptr, state ? words(*state) : 0,
                     threads);
      },
      "x"_a.noconvert(), "targets"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a, "zero_infinity"_a,
      "logits"_a, "losses"_a.noconvert(), "state"_a.noconvert().none(), "threads"_a,
      "Writes losses (N,) and, for the backward pass, state (N, state_size). The last axis of x (T, N, V) is "
      "packed. "
      "Raises ValueError for a length or label that does not fit.");
  m.def(
      "backward",
      [](Array<const Scalar, 3> x, Packed<const int64_t, 2> targets, Ints input_lengths, Ints target_lengths,
         int64_t blank, bool logits, Packed<int64_t, 2> state, Packed<const Scalar, 1> upstream,
         Array<Scalar, 3> grad, int threads) {
        const auto batch = as_batch<Scalar>(x, targets, input_lengths, target_lengths, blank, false, logits);
        nb::gil_scoped_release release;
        ctc::backward(batch, memory(state), words(state), upstream.data(), grad.data(), grad.stride(0),
                      grad.stride(1), threads);
      },
      "x"_a.noconvert(), "targets"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a, "logits"_a, "state"_a,
      "upstream"_a, "grad"_a.noconvert(), "threads"_a,
      "Writes upstream[n] * d losses[n] / d x into grad (T, N, V), whose last axis is packed.");
  m.def(
      "align",
      [](Array<const Scalar, 3> x, Packed<const int64_t, 2> targets, Ints input_lengths, Ints target_lengths,
         int64_t blank, bool logits, Packed<int64_t, 2> paths, Packed<Scalar, 2> scores, int threads) {
        const auto batch = as_batch<Scalar>(x, targets, input_lengths, target_lengths, blank, false, logits);
        nb::gil_scoped_release release;
        const std::string fault = ctc::fault(batch);
        if (!fault.empty()) throw std::invalid_argument(fault);
        ctc::align(batch, paths.data(), scores.data(), threads);
      },
      "x"_a.noconvert(), "targets"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a, "logits"_a,
      "paths"_a.noconvert(), "scores"_a.noconvert(), "threads"_a,
      "Writes the output of each frame of the likeliest alignment, or -1, into paths (N, T), and its "
      "log-probability into scores (N, T). Raises ValueError for a length or label that does not fit.");
}

}  // namespace

NB_MODULE(_ctc, m) {
  m.doc() = "CTC loss and gradient on the CPU. Use asr.criteria.ctc, which checks shapes.";
  m.def("state_size", &ctc::state_size, nb::arg("frames"), nb::arg("batch"), nb::arg("vocabulary"),
        nb::arg("longest_target"), nb::arg("threads"), "64-bit words of state an utterance needs.");
  define<float>(m);
  define<double>(m);
}
