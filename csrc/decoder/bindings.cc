// Python module `asr._decoder`; asr/search/decoder.py is its Python face.
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

#include "common/numpy.h"
#include "graph.h"
#include "hmm_binding.h"
#include "lattice.h"
#include "lazy_graph.h"
#include "phrases.h"
#include "search.h"

namespace nb = nanobind;

namespace asr::decoder {
namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;  // (F, V)

// Provides the graph of a decoder. An utterance keeps the graph that it started with.
class GraphSource {
 public:
  virtual ~GraphSource() = default;
  virtual std::shared_ptr<const Graph> Get() = 0;
  virtual const Header& header() const = 0;  // the same for all of its graphs
};

// A graph and the Python buffer that holds it.
class MappedGraph : public GraphSource {
 public:
  MappedGraph(Bytes bytes, bool check_all)
      : bytes_(std::move(bytes)), graph_(std::make_shared<Graph>(bytes_.data(), bytes_.size(), check_all)) {}
  std::shared_ptr<const Graph> Get() override { return graph_; }
  const Header& header() const override { return graph_->header(); }

 private:
  Bytes bytes_;
  std::shared_ptr<const Graph> graph_;
};

// A lexicon, an n-gram model, and the Python buffers that hold them.
struct MappedLanguage {
  MappedLanguage(Bytes tree, Bytes ngram, const Words& word_of)
      : tree(std::move(tree)),
        ngram(std::move(ngram)),
        language(Join(this->tree, this->ngram, {word_of.data(), word_of.data() + word_of.size()})) {}
  // Checks both completely.
  static Language Join(const Bytes& tree, const Bytes& ngram, const std::vector<uint32_t>& word_of) {
    const nb::gil_scoped_release release;
    return Language(tree.data(), tree.size(), ngram.data(), ngram.size(), word_of);
  }
  const Bytes tree, ngram;
  const Language language;
};

// A graph that is expanded on demand. When it exceeds `cache_bytes`, or has reached the limit for one
// utterance, the next utterance starts a new graph.
class DynamicGraph : public GraphSource {
 public:
  DynamicGraph(const MappedLanguage& language, const std::vector<Slot>& slots, size_t cache_bytes,
               size_t max_bytes)
      : vocabulary_(language.language, slots),
        cache_bytes_(cache_bytes),
        max_bytes_(max_bytes),
        graph_(std::make_shared<LazyGraph>(vocabulary_, max_bytes_)),
        header_(graph_->header()) {}

  std::shared_ptr<const Graph> Get() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const LazyGraph::Size size = graph_->size();
    if (size.num_bytes > cache_bytes_ || size.is_full)
      graph_ = std::make_shared<LazyGraph>(vocabulary_, max_bytes_);
    return graph_;
  }
  const Header& header() const override { return header_; }
  LazyGraph::Size size() {
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    return graph_->size();
  }

 private:
  const Vocabulary vocabulary_;
  const size_t cache_bytes_, max_bytes_;
  std::mutex mutex_;
  std::shared_ptr<const LazyGraph> graph_;
  const Header header_;
};

// An utterance being decoded: its search, and the graph that it started with.
struct Utterance {
  Utterance(std::shared_ptr<const Graph> graph, const SearchOptions& options)
      : graph(std::move(graph)), search(*this->graph, options) {}
  std::shared_ptr<const Graph> graph;
  Search search;
};

// Any number of threads may decode at the same time: each takes a search, new or idle, and gives it back.
// Idle searches do not keep their graph alive; they are reused as long as it exists.
class Decoder {
 public:
  Decoder(GraphSource& source, const SearchOptions& options) : source_(source), options_(options) {}

  std::unique_ptr<Utterance> Decode(const LogProbs& log_probs, const Phrases* phrases) {
    std::unique_ptr<Utterance> utterance = Take();
    utterance->search.Init(phrases);
    utterance->search.Advance(log_probs.data(), log_probs.shape(0), log_probs.shape(1));
    return utterance;
  }
  // The memory of an unusually large search is given back.
  void GiveBack(std::unique_ptr<Utterance> utterance) {
    if (utterance->search.NumBytes() > kMaxIdleBytes) return;
    const std::weak_ptr<const Graph> graph = std::exchange(utterance->graph, nullptr);
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back({std::move(utterance), graph});
  }

  // Starts an utterance whose frames arrive in pieces.
  std::unique_ptr<Utterance> Start(const Phrases* phrases) const {
    const nb::gil_scoped_release release;
    auto utterance = std::make_unique<Utterance>(source_.Get(), options_);
    utterance->search.Init(phrases);
    return utterance;
  }

 private:
  static constexpr size_t kMaxIdleBytes = size_t{64} << 20;
  struct Idle {
    std::unique_ptr<Utterance> utterance;  // without its graph
    std::weak_ptr<const Graph> graph;
  };

  std::unique_ptr<Utterance> Take() {
    std::shared_ptr<const Graph> graph = source_.Get();
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
  const SearchOptions options_;
  std::mutex mutex_;
  std::vector<Idle> idle_;
};

nb::object ToTuple(Path& path) {
  return nb::make_tuple(path.labels, path.label_frames, ToNumpy(std::move(path.alignment)), path.cost,
                        path.complete);
}

nb::object Decode(Decoder& decoder, const LogProbs& log_probs, const Phrases* phrases) {
  Path path;
  {
    const nb::gil_scoped_release release;
    auto utterance = decoder.Decode(log_probs, phrases);
    path = utterance->search.Finalize();
    decoder.GiveBack(std::move(utterance));
  }
  return ToTuple(path);
}

nb::object DecodeLattice(Decoder& decoder, const LogProbs& log_probs, const Phrases* phrases) {
  Path path;
  StateLattice lattice;
  {
    const nb::gil_scoped_release release;
    auto utterance = decoder.Decode(log_probs, phrases);
    path = utterance->search.Finalize();
    lattice = utterance->search.FindLattice();
    decoder.GiveBack(std::move(utterance));
  }
  return nb::make_tuple(ToTuple(path), std::move(lattice));
}

// Plain structures as bytes, which numpy reads as structured arrays.
template <class T>
nb::bytes ToBytes(const std::vector<T>& records) {
  return nb::bytes(records.data(), records.size() * sizeof(T));
}

void BindLattices(nb::module_& m) {
  nb::class_<StateLattice>(m, "StateLattice")
      .def_ro("num_states", &StateLattice::num_states)
      .def_ro("num_frames", &StateLattice::num_frames)
      .def_ro("complete", &StateLattice::complete)
      .def_ro("beam", &StateLattice::beam)
      .def_ro("frames", &StateLattice::frames)
      .def_ro("best", &StateLattice::best)
      .def_prop_ro("arcs", [](const StateLattice& x) { return ToBytes(x.arcs); })
      .def_prop_ro("finals", [](const StateLattice& x) { return ToBytes(x.finals); })
      .def("determinize", &Determinize, nb::arg("beam"), nb::arg("max_arcs"),
           nb::call_guard<nb::gil_scoped_release>());

  nb::class_<WordLattice>(m, "WordLattice")
      .def_ro("num_states", &WordLattice::num_states)
      .def_ro("beam", &WordLattice::beam)
      .def_prop_ro("arcs", [](const WordLattice& x) { return ToBytes(x.arcs); })
      .def_prop_ro("finals", [](const WordLattice& x) { return ToBytes(x.finals); })
      .def_prop_ro("tokens", [](const WordLattice& x) { return ToBytes(x.tokens); });
}

void BindSearch(nb::module_& m) {
  nb::class_<Phrases>(m, "Phrases")
      .def("__init__",
           [](Phrases* self, const std::vector<std::pair<std::vector<int32_t>, float>>& phrases,
              int32_t max_label) {
             std::vector<Phrases::Phrase> list;
             for (const auto& [words, boost] : phrases) list.push_back({words, boost});
             new (self) Phrases(list, max_label);
           })
      .def_prop_ro("num_states", &Phrases::num_states);

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
             Partial partial;
             {
               const nb::gil_scoped_release release;
               partial = self.search.FindPartial();
             }
             return nb::make_tuple(ToTuple(partial.path), partial.num_stable, partial.final_cost);
           })
      .def("finish",
           [](const Utterance& self) {
             Path path;
             {
               const nb::gil_scoped_release release;
               path = self.search.Finalize();
             }
             return ToTuple(path);
           })
      .def(
          "lattice", [](const Utterance& self) { return self.search.FindLattice(); },
          nb::call_guard<nb::gil_scoped_release>());
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

  // As Slot: labels, word, cost, from, to of each member.
  using Members = std::vector<std::tuple<std::vector<int32_t>, int32_t, float, uint32_t, uint32_t>>;
  using Slots = std::vector<std::tuple<int64_t, Members, std::vector<float>>>;
  nb::class_<DynamicGraph, GraphSource>(m, "DynamicGraph")
      .def(
          "__init__",
          [](DynamicGraph* self, const MappedLanguage& language, const Slots& slots, size_t cache_bytes,
             size_t max_bytes) {
            const nb::gil_scoped_release release;
            std::vector<Slot> list;
            for (const auto& [word, members, final_costs] : slots) {
              list.push_back({word, {}, final_costs});
              for (const auto& [labels, label, cost, from, to] : members)
                list.back().members.push_back({labels, label, cost, from, to});
            }
            new (self) DynamicGraph(language, list, cache_bytes, max_bytes);
          },
          nb::keep_alive<1, 2>(), nb::arg("language"), nb::arg("slots"), nb::arg("cache_bytes"),
          nb::arg("most_bytes"))
      .def_prop_ro("num_states", [](DynamicGraph& g) { return g.size().num_states; })
      .def_prop_ro("num_arcs", [](DynamicGraph& g) { return g.size().num_arcs; })
      .def_prop_ro("num_bytes", [](DynamicGraph& g) { return g.size().num_bytes; });
}

}  // namespace
}  // namespace asr::decoder

NB_MODULE(_decoder, m) {
  m.doc() = "WFST beam search over a memory-mapped graph, or over one that is expanded on demand.";
  asr::decoder::BindGraphs(m);
  asr::decoder::BindSearch(m);
  asr::decoder::BindLattices(m);
  asr::decoder::BindHmmGraphs(m);
}
