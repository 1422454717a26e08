// Python module `asr._decoder`; asr/search/decoder.py is its face.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "graph.h"
#include "lattice.h"
#include "lazy_graph.h"
#include "phrases.h"
#include "search.h"

namespace nb = nanobind;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;  // (F, V)

// What a decoder searches. An utterance keeps the graph that it began with.
class GraphSource {
 public:
  virtual ~GraphSource() = default;
  virtual std::shared_ptr<const asr::Graph> Get() = 0;
  virtual const asr::Header& header() const = 0;  // of any of its graphs
};

// A graph and the Python buffer it lies in.
class MappedGraph : public GraphSource {
 public:
  MappedGraph(Bytes bytes, bool check_all)
      : bytes_(std::move(bytes)),
        graph_(std::make_shared<asr::Graph>(bytes_.data(), bytes_.size(), check_all)) {}
  std::shared_ptr<const asr::Graph> Get() override { return graph_; }
  const asr::Header& header() const override { return graph_->header(); }

 private:
  Bytes bytes_;
  std::shared_ptr<const asr::Graph> graph_;
};

// A lexicon, an n-gram, and the Python buffers they lie in.
struct MappedLanguage {
  MappedLanguage(Bytes tree, Bytes ngram, const Words& word_of)
      : tree(std::move(tree)),
        ngram(std::move(ngram)),
        language(Join(this->tree, this->ngram, {word_of.data(), word_of.data() + word_of.size()})) {}
  // Reads all of both.
  static asr::Language Join(const Bytes& tree, const Bytes& ngram, const std::vector<uint32_t>& word_of) {
    const nb::gil_scoped_release release;
    return asr::Language(tree.data(), tree.size(), ngram.data(), ngram.size(), word_of);
  }
  const Bytes tree, ngram;
  const asr::Language language;
};

// A graph that grows, and is begun anew for the next utterance when it has grown beyond `cache_bytes`, or as
// far as one utterance may grow it.
class DynamicGraph : public GraphSource {
 public:
  DynamicGraph(const MappedLanguage& language, const std::vector<asr::Slot>& slots, size_t cache_bytes,
               size_t most_bytes)
      : vocabulary_(language.language, slots),
        cache_bytes_(cache_bytes),
        most_bytes_(most_bytes),
        graph_(std::make_shared<asr::LazyGraph>(vocabulary_, most_bytes_)),
        header_(graph_->header()) {}

  std::shared_ptr<const asr::Graph> Get() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const asr::LazyGraph::Size size = graph_->size();
    if (size.num_bytes > cache_bytes_ || size.is_full)
      graph_ = std::make_shared<asr::LazyGraph>(vocabulary_, most_bytes_);
    return graph_;
  }
  const asr::Header& header() const override { return header_; }
  asr::LazyGraph::Size size() {
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    return graph_->size();
  }

 private:
  const asr::Vocabulary vocabulary_;
  const size_t cache_bytes_, most_bytes_;
  std::mutex mutex_;
  std::shared_ptr<const asr::LazyGraph> graph_;
  const asr::Header header_;
};

// An utterance in progress.
struct Utterance {
  Utterance(std::shared_ptr<const asr::Graph> graph, const asr::SearchOptions& options)
      : graph(std::move(graph)), search(*this->graph, options) {}
  std::shared_ptr<const asr::Graph> graph;
  asr::Search search;
};

// Any number of threads may decode at once: each takes a search, new or used before, and gives it back. Idle
// searches keep no graph alive, and are used again while theirs is.
class Decoder {
 public:
  Decoder(GraphSource& source, const asr::SearchOptions& options) : source_(source), options_(options) {}

  std::unique_ptr<Utterance> Decode(const LogProbs& log_probs, const asr::Phrases* phrases) {
    std::unique_ptr<Utterance> utterance = Take();
    utterance->search.Init(phrases);
    utterance->search.Advance(log_probs.data(), log_probs.shape(0), log_probs.shape(1));
    return utterance;
  }
  void GiveBack(std::unique_ptr<Utterance> utterance) {
    const std::weak_ptr<const asr::Graph> graph = std::exchange(utterance->graph, nullptr);
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back({std::move(utterance), graph});
  }

  // An utterance whose frames come in pieces.
  std::unique_ptr<Utterance> Start(const asr::Phrases* phrases) const {
    const nb::gil_scoped_release release;
    auto utterance = std::make_unique<Utterance>(source_.Get(), options_);
    utterance->search.Init(phrases);
    return utterance;
  }

 private:
  struct Idle {
    std::unique_ptr<Utterance> utterance;  // without its graph
    std::weak_ptr<const asr::Graph> graph;
  };

  std::unique_ptr<Utterance> Take() {
    std::shared_ptr<const asr::Graph> graph = source_.Get();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (!idle_.empty()) {
        Idle idle = std::move(idle_.back());
        idle_.pop_back();
        if (idle.graph.lock() != graph) continue;
        idle.utterance->graph = std::move(graph);
        return std::move(idle.utterance);
      }
    }
    return std::make_unique<Utterance>(std::move(graph), options_);
  }

  GraphSource& source_;
  const asr::SearchOptions options_;
  std::mutex mutex_;
  std::vector<Idle> idle_;
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

nb::object Decode(Decoder& decoder, const LogProbs& log_probs, const asr::Phrases* phrases) {
  asr::Path path;
  {
    const nb::gil_scoped_release release;
    auto utterance = decoder.Decode(log_probs, phrases);
    path = utterance->search.Finalise();
    decoder.GiveBack(std::move(utterance));
  }
  return AsTuple(path);
}

nb::object DecodeLattice(Decoder& decoder, const LogProbs& log_probs, const asr::Phrases* phrases) {
  asr::Path path;
  asr::StateLattice lattice;
  {
    const nb::gil_scoped_release release;
    auto utterance = decoder.Decode(log_probs, phrases);
    path = utterance->search.Finalise();
    lattice = utterance->search.FindLattice();
    decoder.GiveBack(std::move(utterance));
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
  nb::class_<asr::Phrases>(m, "Phrases")
      .def("__init__",
           [](asr::Phrases* self, const std::vector<std::pair<std::vector<int32_t>, float>>& phrases,
              int32_t max_label) {
             std::vector<asr::Phrases::Phrase> list;
             for (const auto& [words, boost] : phrases) list.push_back({words, boost});
             new (self) asr::Phrases(list, max_label);
           })
      .def_prop_ro("num_states", &asr::Phrases::num_states);

  nb::class_<Decoder>(m, "Decoder")
      .def(
          "__init__",
          [](Decoder* self, GraphSource& graph, float beam, int32_t max_active, int32_t min_active,
             float acoustic_scale, float word_penalty, float blank_skip, float lattice_beam,
             const std::vector<float>& token_costs) {
            new (self) Decoder(graph, {beam, max_active, min_active, acoustic_scale, word_penalty, blank_skip,
                                       lattice_beam, token_costs});
          },
          nb::keep_alive<1, 2>(), nb::arg("graph"), nb::arg("beam"), nb::arg("max_active"),
          nb::arg("min_active"), nb::arg("acoustic_scale"), nb::arg("word_penalty"), nb::arg("blank_skip"),
          nb::arg("lattice_beam"), nb::arg("token_costs"))
      .def("decode", &Decode, nb::arg("log_probs"), nb::arg("phrases").none())
      .def("decode_lattice", &DecodeLattice, nb::arg("log_probs"), nb::arg("phrases").none())
      .def("start", &Decoder::Start, nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>(),
           nb::arg("phrases").none());

  nb::class_<Utterance>(m, "Utterance")
      .def(
          "accept",
          [](Utterance& self, const LogProbs& log_probs) {
            const nb::gil_scoped_release release;
            self.search.Advance(log_probs.data(), log_probs.shape(0), log_probs.shape(1));
          },
          nb::arg("log_probs"))
      .def("partial",
           [](const Utterance& self) {
             asr::Partial partial = self.search.FindPartial();
             return nb::make_tuple(AsTuple(partial.path), partial.num_stable, partial.final_cost);
           })
      .def("finish",
           [](const Utterance& self) {
             asr::Path path = self.search.Finalise();
             return AsTuple(path);
           })
      .def("lattice", [](const Utterance& self) { return self.search.FindLattice(); });
}

void BindGraphs(nb::module_& m) {
  nb::class_<GraphSource>(m, "GraphSource")
      .def_prop_ro("max_ilabel", [](const GraphSource& g) { return g.header().max_ilabel; })
      .def_prop_ro("is_implicit", [](const GraphSource& g) { return g.header().is_implicit != 0; })
      .def_prop_ro("max_olabel", [](const GraphSource& g) { return g.header().max_olabel; });

  nb::class_<MappedGraph, GraphSource>(m, "Graph")
      .def(nb::init<Bytes, bool>(), nb::arg("bytes"), nb::arg("check_all"))
      .def_prop_ro("num_states", [](const GraphSource& g) { return g.header().num_states; })
      .def_prop_ro("num_arcs", [](const GraphSource& g) { return g.header().num_arcs; });

  nb::class_<MappedLanguage>(m, "Language")
      .def(nb::init<Bytes, Bytes, const Words&>(), nb::arg("tree"), nb::arg("ngram"), nb::arg("word_of"));

  using Members = std::vector<std::tuple<std::vector<int32_t>, int32_t, float>>;  // labels, word, cost
  using Slots = std::vector<std::pair<int64_t, Members>>;                         // as asr::Slot
  nb::class_<DynamicGraph, GraphSource>(m, "DynamicGraph")
      .def(
          "__init__",
          [](DynamicGraph* self, const MappedLanguage& language, const Slots& slots, size_t cache_bytes,
             size_t most_bytes) {
            const nb::gil_scoped_release release;
            std::vector<asr::Slot> list;
            for (const auto& [word, members] : slots) {
              list.push_back({word, {}});
              for (const auto& [labels, label, member_cost] : members)
                list.back().members.push_back({labels, label, member_cost});
            }
            new (self) DynamicGraph(language, list, cache_bytes, most_bytes);
          },
          nb::keep_alive<1, 2>(), nb::arg("language"), nb::arg("slots"), nb::arg("cache_bytes"),
          nb::arg("most_bytes"))
      .def_prop_ro("num_states", [](DynamicGraph& g) { return g.size().num_states; })
      .def_prop_ro("num_arcs", [](DynamicGraph& g) { return g.size().num_arcs; })
      .def_prop_ro("num_bytes", [](DynamicGraph& g) { return g.size().num_bytes; });
}

}  // namespace

NB_MODULE(_decoder, m) {
  m.doc() = "WFST beam search over a memory-mapped graph, or one that grows as it is searched.";
  BindGraphs(m);
  BindSearch(m);
  BindLattices(m);
}
