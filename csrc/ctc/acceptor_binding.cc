// The Python class of an Acceptor; asr/criteria/acceptor.py numbers its states and sorts its arcs.
#include "acceptor_binding.h"

#include <nanobind/stl/vector.h>

#include <algorithm>

#include "batch_binding.h"
#include "common/numpy.h"
#include "numbers.h"
#include "packed.h"

namespace nb = nanobind;

namespace asr::ctc {
namespace {

using Ints = std::vector<int32_t>;
using Array = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using IntArray = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
auto Copied(const nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>& array) {
  return std::vector<T>(array.data(), array.data() + array.size());
}

std::vector<Wide<double>> Exponentials(const Array& logs) {
  std::vector<Wide<double>> found(logs.size());
  std::transform(logs.data(), logs.data() + logs.size(), found.begin(), ExpWide);
  return found;
}

bool ArePlain(const Array& logs) { return std::all_of(logs.data(), logs.data() + logs.size(), IsPlain); }

Arcs MakeArcs(const IntArray& first, const IntArray& state, const Array& log_weight) {
  Arcs arcs{Copied(first), Copied(state), {}, Exponentials(log_weight)};
  for (const Wide<double>& w : arcs.wide)
    arcs.plain.push_back(w.m * Pow2<double>(std::min<int64_t>(w.e, 1023)));
  return arcs;
}

}  // namespace

void BindAcceptor(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<Acceptor>(m, "Acceptor", "A weighted acceptor: see acceptor.h. Weights are natural logs.")
      .def(
          "__init__",
          [](Acceptor* self, const IntArray& outputs, const IntArray& labels, const IntArray& in_first,
             const IntArray& in_state, const Array& in_log_weight, const IntArray& out_first,
             const IntArray& out_state, const Array& out_log_weight, const Array& start, const Array& end,
             double log_empty) {
            new (self) Acceptor{static_cast<int64_t>(labels.size()),
                                static_cast<int64_t>(start.size()),
                                Copied(outputs),
                                Copied(labels),
                                MakeArcs(in_first, in_state, in_log_weight),
                                MakeArcs(out_first, out_state, out_log_weight),
                                Exponentials(start),
                                Exponentials(end),
                                log_empty,
                                ArePlain(in_log_weight) && ArePlain(start) && ArePlain(end)};
          },
          "outputs"_a, "labels"_a, "in_first"_a, "in_state"_a, "in_log_weight"_a, "out_first"_a,
          "out_state"_a, "out_log_weight"_a, "start"_a, "end"_a, "log_empty"_a)
      .def(
          "packed", [](const Acceptor& self) { return ToNumpy(Pack(self)); },
          "The acceptor as GPU kernels read it: (words,) int64, which begin with the numbers of states that "
          "consume a frame, of states and of chunks. See packed.h.");
  m.def(
      "log_totals",
      [](const std::vector<const Acceptor*>& graphs, bool is_shared, uintptr_t x, int64_t frames,
         int64_t batch, int64_t vocabulary, uintptr_t lengths, uintptr_t totals, uintptr_t occupancy,
         int threads) {
        ComputeTotals(graphs, is_shared,
                      {At<const double>(x), frames, batch, vocabulary, At<const int64_t>(lengths)},
                      At<double>(totals), At<double>(occupancy), threads);
      },
      "graphs"_a, "is_shared"_a, "x"_a, "frames"_a, "batch"_a, "vocabulary"_a, "lengths"_a, "totals"_a,
      "occupancy"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
      "Writes totals (N,) and, if occupancy is not 0, occupancy (T, N, V), which must be zero.");
}

}  // namespace asr::ctc
