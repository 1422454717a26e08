// Python module `asr._decoder`; asr/search.py is its face.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bias.h"
#include "graph.h"
#include "lattice.h"
#include "search.h"

namespace nb = nanobind;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;  // (F, V)

// A graph and the Python buffer it lies in.
struct MappedGraph {
  MappedGraph(Bytes bytes, bool check_all)
      : bytes(std::move(bytes)), graph(this->bytes.data(), this->bytes.size(), check_all) {}
  Bytes bytes;
  asr::Graph graph;
};

// Any number of threads may decode at once: each takes a search, new or used before, and gives it back.
class Decoder {
 public:
  Decoder(const MappedGraph& graph, const asr::SearchOptions& options)
      : graph_(graph.graph), options_(options) {}

  std::unique_ptr<asr::Search> Decode(const LogProbs& log_probs, const asr::Bias* bias) {
    std::unique_ptr<asr::Search> search = Take();
    search->Init(bias);
    search->Advance(log_probs.data(), log_probs.shape(0), log_probs.shape(1));
    return search;
  }
  void GiveBack(std::unique_ptr<asr::Search> search) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(search));
  }

  // An utterance whose frames come in pieces.
  std::unique_ptr<asr::Search> Start(const asr::Bias* bias) const {
    auto search = std::make_unique<asr::Search>(graph_, options_);
    search->Init(bias);
    return search;
  }

 private:
  std::unique_ptr<asr::Search> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<asr::Search>(graph_, options_);
    std::unique_ptr<asr::Search> search = std::move(idle_.back());
    idle_.pop_back();
    return search;
  }

  const asr::Graph& graph_;
  const asr::SearchOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<asr::Search>> idle_;
};

// The path's alignment as a numpy array, which takes the memory over.
nb::object Alignment(asr::Path& path) {
  auto* owned = new std::vector<int32_t>(std::move(path.alignment));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<int32_t>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>(owned->data(), {owned->size()}, owner));
}

nb::object AsTuple(asr::Path& path) {
  return nb::make_tuple(path.labels, path.label_frames, Alignment(path), path.cost, path.complete);
}

nb::object Decode(Decoder& decoder, const LogProbs& log_probs, const asr::Bias* bias) {
  asr::Path path;
  {
    const nb::gil_scoped_release release;
    auto search = decoder.Decode(log_probs, bias);
    path = search->Finalise();
    decoder.GiveBack(std::move(search));
  }
  return AsTuple(path);
}

nb::object DecodeLattice(Decoder& decoder, const LogProbs& log_probs, const asr::Bias* bias) {
  asr::Path path;
  asr::StateLattice lattice;
  {
    const nb::gil_scoped_release release;
    auto search = decoder.Decode(log_probs, bias);
    path = search->Finalise();
    lattice = search->FindLattice();
    decoder.GiveBack(std::move(search));
  }
  return nb::make_tuple(AsTuple(path), std::move(lattice));
}

// Plain structures as bytes, which numpy reads as records.
template <class T>
nb::bytes AsBytes(const std::vector<T>& records) {
  return nb::bytes(records.data(), records.size() * sizeof(T));
}

asr::WordLattice Determinize(const asr::StateLattice& lattice, float beam, int64_t max_arcs) {
  const nb::gil_scoped_release release;
  return asr::Determinize(lattice, beam, max_arcs);
}

void BindLattices(nb::module_& m) {
  nb::class_<asr::StateLattice>(m, "StateLattice")
      .def_ro("num_states", &asr::StateLattice::num_states)
      .def_ro("num_frames", &asr::StateLattice::num_frames)
      .def_ro("complete", &asr::StateLattice::complete)
      .def_ro("beam", &asr::StateLattice::beam)
      .def_ro("frames", &asr::StateLattice::frames)
      .def_prop_ro("arcs", [](const asr::StateLattice& x) { return AsBytes(x.arcs); })
      .def_prop_ro("finals", [](const asr::StateLattice& x) { return AsBytes(x.finals); })
      .def("determinize", &Determinize, nb::arg("beam"), nb::arg("max_arcs"));

  nb::class_<asr::WordLattice>(m, "WordLattice")
      .def_ro("num_states", &asr::WordLattice::num_states)
      .def_ro("beam", &asr::WordLattice::beam)
      .def_prop_ro("arcs", [](const asr::WordLattice& x) { return AsBytes(x.arcs); })
      .def_prop_ro("finals", [](const asr::WordLattice& x) { return AsBytes(x.finals); })
      .def_prop_ro("tokens", [](const asr::WordLattice& x) { return AsBytes(x.tokens); });
}

void BindSearch(nb::module_& m) {
  nb::class_<asr::Bias>(m, "Bias")
      .def("__init__",
           [](asr::Bias* self, const std::vector<std::pair<std::vector<int32_t>, float>>& phrases,
              int32_t max_label) {
             std::vector<asr::Bias::Phrase> list;
             for (const auto& [words, boost] : phrases) list.push_back({words, boost});
             new (self) asr::Bias(list, max_label);
           })
      .def_prop_ro("num_states", &asr::Bias::num_states);

  nb::class_<Decoder>(m, "Decoder")
      .def(
          "__init__",
          [](Decoder* self, const MappedGraph& graph, float beam, int32_t max_active, int32_t min_active,
             float acoustic_scale, float word_penalty, float blank_skip, float lattice_beam,
             const std::vector<float>& token_costs) {
            new (self) Decoder(graph, {beam, max_active, min_active, acoustic_scale, word_penalty, blank_skip,
                                       lattice_beam, token_costs});
          },
          nb::keep_alive<1, 2>(), nb::arg("graph"), nb::arg("beam"), nb::arg("max_active"),
          nb::arg("min_active"), nb::arg("acoustic_scale"), nb::arg("word_penalty"), nb::arg("blank_skip"),
          nb::arg("lattice_beam"), nb::arg("token_costs"))
      .def("decode", &Decode, nb::arg("log_probs"), nb::arg("bias").none())
      .def("decode_lattice", &DecodeLattice, nb::arg("log_probs"), nb::arg("bias").none())
      .def("start", &Decoder::Start, nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>(), nb::arg("bias").none());

  nb::class_<asr::Search>(m, "Search")
      .def(
          "accept",
          [](asr::Search& self, const LogProbs& log_probs) {
            const nb::gil_scoped_release release;
            self.Advance(log_probs.data(), log_probs.shape(0), log_probs.shape(1));
          },
          nb::arg("log_probs"))
      .def("partial",
           [](const asr::Search& self) {
             asr::Partial partial = self.FindPartial();
             return nb::make_tuple(AsTuple(partial.path), partial.num_stable, partial.final_cost);
           })
      .def("finish",
           [](const asr::Search& self) {
             asr::Path path = self.Finalise();
             return AsTuple(path);
           })
      .def("lattice", &asr::Search::FindLattice);
}

}  // namespace

NB_MODULE(_decoder, m) {
  m.doc() = "WFST beam search over a memory-mapped graph.";

  nb::class_<MappedGraph>(m, "Graph")
      .def(nb::init<Bytes, bool>(), nb::arg("bytes"), nb::arg("check_all"))
      .def_prop_ro("num_states", [](const MappedGraph& g) { return g.graph.header().num_states; })
      .def_prop_ro("num_arcs", [](const MappedGraph& g) { return g.graph.header().num_arcs; })
      .def_prop_ro("max_ilabel", [](const MappedGraph& g) { return g.graph.header().max_ilabel; })
      .def_prop_ro("is_implicit", [](const MappedGraph& g) { return g.graph.header().is_implicit != 0; })
      .def_prop_ro("max_olabel", [](const MappedGraph& g) { return g.graph.header().max_olabel; });

  BindSearch(m);
  BindLattices(m);
}
