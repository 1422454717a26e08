// Python module `asr._lm`; asr/lm/corpus.py, ngram.py and arpa.py are its faces.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "arpa_read.h"
#include "arpa_write.h"
#include "corpus.h"
#include "counts.h"

namespace nb = nanobind;

namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;   // (R, n)
using Values = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;  // (R,)
using Orders = std::vector<std::tuple<Ids, Values, Values>>;
using Ngrams = asr::ArpaReader::Ngrams;

std::string_view View(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::list AsStrings(const std::vector<std::string_view>& words) {
  nb::list list;
  for (const std::string_view word : words) list.append(nb::str(word.data(), word.size()));
  return list;
}

// A numpy array that takes the memory over.
template <class T>
nb::object AsArray(std::vector<T>&& values, size_t width = 0) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  if (width == 0)
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(owned->data(), {owned->size()}, owner));
  return nb::cast(
      nb::ndarray<nb::numpy, T, nb::ndim<2>>(owned->data(), {owned->size() / width, width}, owner));
}

nb::list AsArrays(std::vector<Ngrams>& orders) {
  nb::list list;
  for (size_t n = 1; n <= orders.size(); ++n) {
    Ngrams& ngrams = orders[n - 1];
    list.append(nb::make_tuple(AsArray(std::move(ngrams.ids), n), AsArray(std::move(ngrams.log10_prob)),
                               AsArray(std::move(ngrams.log10_backoff))));
  }
  return list;
}

class ArrayOutput : public asr::Output {
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

// Python callables, called from work that runs without the interpreter's lock.
asr::Progress AsProgress(const nb::callable& call) {
  return [&call](uint64_t steps) {
    const nb::gil_scoped_acquire acquire;
    call(steps);
  };
}
asr::ArpaWriter::Sink AsSink(const nb::callable& call) {
  return [&call](std::string_view block) {
    const nb::gil_scoped_acquire acquire;
    call(nb::bytes(block.data(), block.size()));
  };
}

std::unique_ptr<asr::Counts> Count(asr::Corpus& corpus, int order, const std::vector<uint64_t>& cutoffs,
                                   const nb::callable& progress) {
  const nb::gil_scoped_release release;
  return asr::Counts::Of(corpus, order, cutoffs, AsProgress(progress));
}

std::pair<nb::list, double> EstimateArrays(asr::Counts& counts, const std::vector<asr::Discounts>& discounts,
                                           const nb::callable& progress) {
  ArrayOutput output;
  double log10_likelihood;
  {
    const nb::gil_scoped_release release;
    log10_likelihood = counts.Estimate(discounts, output, AsProgress(progress));
  }
  return {AsArrays(output.orders), log10_likelihood};
}

double EstimateArpa(asr::Counts& counts, const asr::Corpus& corpus,
                    const std::vector<asr::Discounts>& discounts, const nb::callable& sink,
                    const nb::callable& progress) {
  const nb::gil_scoped_release release;
  std::vector<uint64_t> sizes;
  for (const auto& order : counts.orders()) sizes.push_back(order.num_listed);
  asr::ArpaWriter writer(corpus.words(), sizes, AsSink(sink));
  const double log10_likelihood = counts.Estimate(discounts, writer, AsProgress(progress));
  writer.Finish();
  return log10_likelihood;
}

void WriteArpa(const std::vector<std::string>& words, const Orders& orders, const nb::callable& sink,
               const nb::callable& progress) {
  const nb::gil_scoped_release release;
  const std::vector<std::string_view> views(words.begin(), words.end());
  std::vector<uint64_t> sizes;
  for (const auto& order : orders) sizes.push_back(std::get<0>(order).shape(0));
  asr::ArpaWriter writer(views, sizes, AsSink(sink));
  asr::Steps steps(AsProgress(progress));
  for (size_t n = 1; n <= orders.size(); ++n) {
    const auto& [ids, log10_prob, log10_backoff] = orders[n - 1];
    writer.BeginOrder(n, ids.shape(0));
    for (size_t row = 0; row < ids.shape(0); ++row, steps.Step())
      writer.Add(reinterpret_cast<const uint32_t*>(ids.data()) + row * n, n, log10_prob.data()[row],
                 log10_backoff.data()[row]);
  }
  writer.Finish();
}

// The fault that `read` meets, as line and message; None if there is none.
template <class Read>
nb::object FaultOf(Read&& read) {
  try {
    read();
  } catch (const asr::ArpaError& e) {
    return nb::make_tuple(e.line, nb::bytes(e.what(), std::strlen(e.what())));
  }
  return nb::none();
}

void BindEstimation(nb::module_& m) {
  nb::class_<asr::Corpus>(m, "Corpus")
      .def(nb::init<size_t, std::string>(), nb::arg("memory_bytes"), nb::arg("folder"))
      .def(
          "add", [](asr::Corpus& self, const nb::bytes& lines) { return self.Add(View(lines)); },
          nb::arg("lines"))
      .def(
          "select",
          [](asr::Corpus& self, std::optional<std::vector<std::string>> words, uint64_t min_count,
             uint64_t size, double coverage) { self.Select({std::move(words), min_count, size, coverage}); },
          nb::arg("words").none(), nb::arg("min_count"), nb::arg("size"), nb::arg("coverage"))
      .def_prop_ro("words", [](const asr::Corpus& self) { return AsStrings(self.words()); })
      .def_prop_ro("num_sentences", &asr::Corpus::num_sentences)
      .def_prop_ro("num_words", &asr::Corpus::num_words)
      .def_prop_ro("num_unknown", &asr::Corpus::num_unknown)
      .def_prop_ro("num_seen", &asr::Corpus::num_seen)
      .def_prop_ro("num_kept", [](const asr::Corpus& self) { return self.words().size() - asr::kNumMarks; })
      .def_prop_ro("longest", &asr::Corpus::longest);

  nb::class_<asr::Counts>(m, "Counts")
      .def_prop_ro("orders",
                   [](const asr::Counts& self) {
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
}

void BindArpa(nb::module_& m) {
  m.def("write_arpa", &WriteArpa, nb::arg("words"), nb::arg("orders"), nb::arg("sink"), nb::arg("progress"));
  nb::class_<asr::ArpaReader>(m, "ArpaReader")
      .def(nb::init<>())
      .def(
          "add",
          [](asr::ArpaReader& self, const nb::bytes& lines) {
            return FaultOf([&] { self.Add(View(lines)); });
          },
          nb::arg("lines"))
      .def("finish", [](const asr::ArpaReader& self) { return FaultOf([&] { self.Finish(); }); })
      .def_prop_ro("is_done", &asr::ArpaReader::is_done)
      .def_prop_ro("words", [](const asr::ArpaReader& self) { return AsStrings(self.words()); })
      .def("take_orders", [](asr::ArpaReader& self) { return AsArrays(self.orders()); });
}

}  // namespace

NB_MODULE(_lm, m) {
  m.doc() = "Estimation of n-gram models; ARPA files.";
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const asr::TemporaryFileError& e) {
      PyErr_SetString(PyExc_OSError, e.what());
    }
  });
  BindEstimation(m);
  BindArpa(m);
}
