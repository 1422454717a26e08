// Graphs of HMMs in Python: asr/hmm/graph.py and asr/hmm/alignment.py.
#include "hmm_binding.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "common/numpy.h"
#include "hmm_graph.h"

namespace nb = nanobind;

namespace asr::decoder {
namespace {

constexpr const char* kExpander = "asr.HmmExpander";

template <class T>
using Column = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// start, then the columns in the order of asr.graph.automaton.Automaton.
nb::object ToTuple(Columns&& found) {
  return nb::make_tuple(found.start, ToNumpy(std::move(found.final_costs)), ToNumpy(std::move(found.source)),
                        ToNumpy(std::move(found.ilabel)), ToNumpy(std::move(found.olabel)),
                        ToNumpy(std::move(found.cost)), ToNumpy(std::move(found.target)));
}

// A capsule and not a class: HMMs in global variables live until the process ends, and nanobind would report
// their instances as leaks.
nb::capsule MakeExpander(std::vector<uint8_t> asks, std::vector<std::vector<double>> costs) {
  auto made = std::make_unique<HmmExpander>(std::move(asks), std::move(costs));
  nb::capsule owner(made.get(), kExpander, [](void* p) noexcept { delete static_cast<HmmExpander*>(p); });
  made.release();
  return owner;
}

nb::object Expand(const nb::capsule& expander, const nb::callable& labels, int32_t start,
                  const Column<float>& final_costs, const Column<int64_t>& first,
                  const Column<int32_t>& ilabel, const Column<int32_t>& olabel, const Column<float>& cost,
                  const Column<int32_t>& target, int64_t most_arcs) {
  if (expander.name() != std::string_view(kExpander))
    throw nb::type_error("expected what hmm_expander returns");
  const ColumnsView graph{start,         final_costs.size(), final_costs.data(), first.data(),
                          ilabel.data(), olabel.data(),      target.data(),      cost.data()};
  const auto find = [&](int64_t left, int64_t phone, int64_t right) {
    const nb::gil_scoped_acquire python;
    return nb::cast<std::vector<int32_t>>(labels(left, phone, right));
  };
  std::optional<Columns> found;
  {
    const nb::gil_scoped_release others_run;
    found = static_cast<HmmExpander*>(expander.data())->Expand(graph, most_arcs, find);
  }
  return found ? ToTuple(std::move(*found)) : nb::none();
}

}  // namespace

void BindHmmGraphs(nb::module_& m) {
  using namespace nb::literals;
  m.def("hmm_expander", &MakeExpander, "asks"_a, "costs"_a);
  m.def("expand", &Expand, "expander"_a, "labels"_a, "start"_a, "final"_a, "first"_a, "ilabel"_a, "olabel"_a,
        "cost"_a, "target"_a, "most_arcs"_a);
  m.def(
      "spell_transcript",
      [](const std::vector<SpelledWord>& words, int32_t silence) {
        return ToTuple(SpellTranscript(words, silence));
      },
      "words"_a, "silence"_a);
}

}  // namespace asr::decoder
