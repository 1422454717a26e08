// Python module `asr._lm`; asr/lm/corpus.py, estimation.py and arpa.py are its Python faces.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "arpa_read.h"
#include "arpa_write.h"
#include "common/numpy.h"
#include "corpus.h"
#include "counts.h"
#include "scorer.h"

namespace nb = nanobind;

namespace asr::lm {
namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;   // (R, n)
using Values = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;  // (R,)
using WordIds = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Nodes = nb::ndarray<const Scorer::Node, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Orders = std::vector<std::tuple<Ids, Values, Values>>;
using Ngrams = ArpaReader::Ngrams;

std::string_view View(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::list ToStrings(const std::vector<std::string_view>& words) {
  nb::list list;
  for (const std::string_view word : words) list.append(nb::str(word.data(), word.size()));
  return list;
}

nb::list ToArrays(std::vector<Ngrams>& orders) {
  nb::list list;
  for (size_t n = 1; n <= orders.size(); ++n) {
    Ngrams& ngrams = orders[n - 1];
    list.append(nb::make_tuple(ToNumpy(std::move(ngrams.ids), n), ToNumpy(std::move(ngrams.log10_prob)),
                               ToNumpy(std::move(ngrams.log10_backoff))));
  }
  return list;
}

class ArrayOutput : public Output {
 public:
  void BeginOrder(int n, uint64_t size) override {
    orders.emplace_back();
    orders.back().ids.reserve(size * n);
    orders.back().log10_prob.reserve(size);
    orders.back().log10_backoff.reserve(size);
  }
  void Add(const uint32_t* ids, int n, float log10_prob, float log10_backoff) override {
    orders.back().ids.insert(orders.back().ids.end(), ids, ids + n);
    orders.back().log10_prob.push_back(log10_prob);
    orders.back().log10_backoff.push_back(log10_backoff);
  }
  std::vector<Ngrams> orders;
};

// Python callables for code that runs without the GIL.
Progress ToProgress(const nb::callable& call) {
  return [&call](uint64_t steps) {
    const nb::gil_scoped_acquire acquire;
    call(steps);
  };
}
BlockSink ToSink(const nb::callable& call) {
  return [&call](std::string_view block) {
    const nb::gil_scoped_acquire acquire;
    call(nb::bytes(block.data(), block.size()));
  };
}

std::unique_ptr<Counts> Count(Corpus& corpus, int order, const std::vector<uint64_t>& cutoffs,
                              const nb::callable& progress) {
  const nb::gil_scoped_release release;
  return Counts::Make(corpus, order, cutoffs, ToProgress(progress));
}

std::pair<nb::list, double> EstimateArrays(Counts& counts, const std::vector<Discounts>& discounts,
                                           const nb::callable& progress) {
  ArrayOutput output;
  double log10_likelihood;
  {
    const nb::gil_scoped_release release;
    log10_likelihood = counts.Estimate(discounts, output, ToProgress(progress));
  }
  return {ToArrays(output.orders), log10_likelihood};
}

double EstimateArpa(Counts& counts, const Corpus& corpus, const std::vector<Discounts>& discounts,
                    const nb::callable& sink, const nb::callable& progress) {
  const nb::gil_scoped_release release;
  std::vector<uint64_t> sizes;
  for (const auto& order : counts.orders()) sizes.push_back(order.num_listed);
  ArpaWriter writer(corpus.words(), sizes, ToSink(sink));
  const double log10_likelihood = counts.Estimate(discounts, writer, ToProgress(progress));
  writer.Finish();
  return log10_likelihood;
}

// Throws std::invalid_argument if the shapes of the arrays do not match.
void CheckShapes(size_t n, const Orders::value_type& ngrams) {
  const auto& [ids, log10_prob, log10_backoff] = ngrams;
  const std::string order = std::to_string(n);
  if (ids.shape(1) != n || log10_prob.shape(0) != ids.shape(0) || log10_backoff.shape(0) != ids.shape(0))
    throw std::invalid_argument("the shapes of the arrays of the " + order +
                                "-grams do not match; expected ids (R, " + order +
                                "), log10_prob (R,) and log10_backoff (R,)");
}

// Throws std::invalid_argument if the shapes of the arrays do not match or an id is out of range.
void CheckOrders(size_t num_words, const Orders& orders) {
  for (size_t n = 1; n <= orders.size(); ++n) {
    CheckShapes(n, orders[n - 1]);
    const Ids& ids = std::get<0>(orders[n - 1]);
    const auto is_bad = [num_words](int32_t id) { return static_cast<uint32_t>(id) >= num_words; };
    if (const int32_t* end = ids.data() + ids.size(); std::any_of(ids.data(), end, is_bad))
      throw std::invalid_argument("an id in the " + std::to_string(n) + "-grams is not that of one of the " +
                                  std::to_string(num_words) + " words");
  }
}

void WriteArpa(const std::vector<std::string>& words, const Orders& orders, const nb::callable& sink,
               const nb::callable& progress) {
  const nb::gil_scoped_release release;
  CheckOrders(words.size(), orders);
  const std::vector<std::string_view> views(words.begin(), words.end());
  std::vector<uint64_t> sizes;
  for (const auto& order : orders) sizes.push_back(std::get<0>(order).shape(0));
  ArpaWriter writer(views, sizes, ToSink(sink));
  Steps steps(ToProgress(progress));
  for (size_t n = 1; n <= orders.size(); ++n) {
    const auto& [ids, log10_prob, log10_backoff] = orders[n - 1];
    writer.BeginOrder(n, ids.shape(0));
    for (size_t row = 0; row < ids.shape(0); ++row, steps.Step())
      writer.Add(reinterpret_cast<const uint32_t*>(ids.data()) + row * n, n, log10_prob.data()[row],
                 log10_backoff.data()[row]);
  }
  writer.Finish();
}

std::unique_ptr<Scorer> MakeScorer(const Orders& orders) {
  const nb::gil_scoped_release release;
  auto scorer = std::make_unique<Scorer>();
  for (size_t n = 1; n <= orders.size(); ++n) {
    const auto& [ids, log10_prob, log10_backoff] = orders[n - 1];
    CheckShapes(n, orders[n - 1]);
    scorer->AddOrder(ids.data(), static_cast<int>(n), ids.shape(0), log10_prob.data(), log10_backoff.data());
  }
  scorer->Finish();
  return scorer;
}

// A scorer of arrays that belong to the caller. Throws std::invalid_argument if their sizes do not match.
std::unique_ptr<Scorer> MapScorer(const std::vector<Scorer::Node>& order_begin, const WordIds& word,
                                  const Values& log10_prob, const Values& log10_backoff, const Nodes& first,
                                  const Nodes& shorter) {
  auto scorer = std::make_unique<Scorer>(Scorer::Arrays{order_begin, word.data(), log10_prob.data(),
                                                        log10_backoff.data(), first.data(), shorter.data()});
  const size_t nodes = scorer->arrays().num_nodes(), histories = scorer->arrays().num_histories();
  if (word.shape(0) != nodes || log10_prob.shape(0) != nodes || log10_backoff.shape(0) != histories ||
      first.shape(0) != histories + 1 || shorter.shape(0) != histories)
    throw std::invalid_argument("the sizes of its arrays do not match");
  return scorer;
}

// The arrays of a scorer as views that keep it alive, in the order in which MapScorer takes them.
nb::tuple ArraysOf(const nb::handle& self) {
  const Scorer::Arrays& arrays = nb::cast<const Scorer&>(self).arrays();
  const auto view = [&self](const auto* data, size_t size) {
    return nb::cast(
        nb::ndarray<nb::numpy, std::remove_pointer_t<decltype(data)>, nb::ndim<1>>(data, {size}, self));
  };
  const size_t nodes = arrays.num_nodes(), histories = arrays.num_histories();
  return nb::make_tuple(arrays.order_begin, view(arrays.word, nodes), view(arrays.log10_prob, nodes),
                        view(arrays.log10_backoff, histories), view(arrays.first, histories + 1),
                        view(arrays.shorter, histories));
}

// Scores `words` one after the other.
std::vector<std::pair<double, int>> ScoreAll(const Scorer& scorer, Scorer::Node state,
                                             const std::vector<int32_t>& words) {
  std::vector<std::pair<double, int>> scores;
  for (const int32_t word : words) {
    const Scorer::Step step = scorer.Score(state, word);
    scores.emplace_back(step.log10_prob, step.length);
    state = step.state;
  }
  return scores;
}

// Calls `read`; returns the line and message of the ArpaError that it throws, or None.
template <class Read>
nb::object FaultOf(Read&& read) {
  try {
    read();
  } catch (const ArpaError& e) {
    return nb::make_tuple(e.line, nb::bytes(e.what(), std::strlen(e.what())));
  }
  return nb::none();
}

void BindEstimation(nb::module_& m) {
  nb::class_<Corpus>(m, "Corpus")
      .def(nb::init<size_t, std::string>(), nb::arg("memory_bytes"), nb::arg("folder"))
      .def(
          "add", [](Corpus& self, const nb::bytes& lines) { return self.Add(View(lines)); }, nb::arg("lines"))
      .def(
          "select",
          [](Corpus& self, std::optional<std::vector<std::string>> words, uint64_t min_count, uint64_t size,
             double coverage) { self.Select({std::move(words), min_count, size, coverage}); },
          nb::arg("words").none(), nb::arg("min_count"), nb::arg("size"), nb::arg("coverage"))
      .def("begin_counts", &Corpus::BeginCounts, nb::arg("order"))
      .def(
          "add_counted_words",
          [](Corpus& self, const nb::bytes& lines) { self.AddCountedWords(View(lines)); }, nb::arg("lines"))
      .def(
          "add_counted_ngrams",
          [](Corpus& self, const nb::bytes& block) { self.AddCountedNgrams(View(block)); }, nb::arg("block"))
      .def_prop_ro("words", [](const Corpus& self) { return ToStrings(self.words()); })
      .def_prop_ro("num_sentences", &Corpus::num_sentences)
      .def_prop_ro("num_words", &Corpus::num_words)
      .def_prop_ro("num_unknown", &Corpus::num_unknown)
      .def_prop_ro("num_seen", &Corpus::num_seen)
      .def_prop_ro("num_kept", [](const Corpus& self) { return self.words().size() - kNumMarks; })
      .def_prop_ro("longest", &Corpus::longest)
      .def_prop_ro("num_ngrams", &Corpus::num_ngrams);

  nb::class_<Counts>(m, "Counts")
      .def_prop_ro("orders",
                   [](const Counts& self) {
                     std::vector<std::tuple<uint64_t, uint64_t, std::array<uint64_t, 5>>> orders;
                     for (const auto& order : self.orders())
                       orders.emplace_back(order.num_seen, order.num_listed, order.with_count);
                     return orders;
                   })
      .def("estimate_arrays", &EstimateArrays, nb::arg("discounts"), nb::arg("progress"))
      .def("estimate_arpa", &EstimateArpa, nb::arg("corpus"), nb::arg("discounts"), nb::arg("sink"),
           nb::arg("progress"));
  m.def("count", &Count, nb::keep_alive<0, 1>(), nb::arg("corpus"), nb::arg("order"), nb::arg("cutoffs"),
        nb::arg("progress"));
  m.def(
      "write_ngrams",
      [](Corpus& corpus, int order, const nb::callable& sink, const nb::callable& progress) {
        const nb::gil_scoped_release release;
        WriteNgrams(corpus, order, ToSink(sink), ToProgress(progress));
      },
      nb::arg("corpus"), nb::arg("order"), nb::arg("sink"), nb::arg("progress"));
}

void BindArpa(nb::module_& m) {
  m.def("write_arpa", &WriteArpa, nb::arg("words"), nb::arg("orders"), nb::arg("sink"), nb::arg("progress"));
  nb::class_<ArpaReader>(m, "ArpaReader")
      .def(nb::init<>())
      .def(
          "add",
          [](ArpaReader& self, const nb::bytes& lines) { return FaultOf([&] { self.Add(View(lines)); }); },
          nb::arg("lines"))
      .def("finish", [](const ArpaReader& self) { return FaultOf([&] { self.Finish(); }); })
      .def_prop_ro("is_done", &ArpaReader::is_done)
      .def_prop_ro("words", [](const ArpaReader& self) { return ToStrings(self.words()); })
      .def("take_orders", [](ArpaReader& self) { return ToArrays(self.orders()); });
}

void BindScorer(nb::module_& m) {
  nb::class_<Scorer>(m, "Scorer")
      .def(nb::new_(&MakeScorer), nb::arg("orders"))
      .def_static("map", &MapScorer, nb::keep_alive<0, 2>(), nb::keep_alive<0, 3>(), nb::keep_alive<0, 4>(),
                  nb::keep_alive<0, 5>(), nb::keep_alive<0, 6>(), nb::arg("order_begin"),
                  nb::arg("word").noconvert(), nb::arg("log10_prob").noconvert(),
                  nb::arg("log10_backoff").noconvert(), nb::arg("first").noconvert(),
                  nb::arg("shorter").noconvert())
      .def_prop_ro("arrays", &ArraysOf)
      .def(
          "step",
          [](const Scorer& self, Scorer::Node state, int32_t word) {
            const Scorer::Step step = self.Score(state, word);
            return nb::make_tuple(step.state, step.log10_prob, step.length);
          },
          nb::arg("state"), nb::arg("word"))
      .def("score_all", &ScoreAll, nb::arg("state"), nb::arg("words"));
}

}  // namespace
}  // namespace asr::lm

NB_MODULE(_lm, m) {
  m.doc() = "Estimation of n-gram models; ARPA files; probabilities of words.";
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const asr::lm::TemporaryFileError& e) {
      PyErr_SetString(PyExc_OSError, e.what());
    }
  });
  asr::lm::BindEstimation(m);
  asr::lm::BindArpa(m);
  asr::lm::BindScorer(m);
}
