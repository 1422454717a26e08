#include "counts.h"

#include <stdexcept>
#include <string>
#include <type_traits>

#include "collect.h"
#include "interpolate.h"

namespace asr::lm {

namespace {

template <int W>
class PackedCounts : public Counts {
 public:
  PackedCounts(Corpus& corpus, int order, int bits, const std::vector<uint64_t>& cutoffs,
               const Progress& progress)
      : memory_(corpus.memory()), packing_(bits), unigrams_(corpus.words().size()) {
    orders_.resize(order);
    const size_t bytes = memory_.SorterBytes(order + 1);
    for (int n = 2; n <= order; ++n) ngrams_.emplace_back(memory_, n * bits, bytes);
    auto sorted = SortNgrams(corpus, order, packing_, progress);
    const auto emit = [this](int n, const Key<W>& key, uint64_t adjusted, bool is_cut) {
      Count(orders_[n - 1], adjusted, is_cut);
      if (n == 1)
        unigrams_[packing_.Last(key)] = adjusted;
      else
        ngrams_[n - 2].Add({key, adjusted, is_cut});
    };
    Adjuster<W, decltype(emit)> adjuster(order, packing_, cutoffs, emit);
    Steps steps(progress);
    sorted.Drain([&](const Counted<W>& ngram) {
      adjuster.Add(ngram);
      steps.Step();
    });
    adjuster.Finish();
    orders_[0].num_listed = unigrams_.size();  // all words of the model are listed
  }

  double Estimate(const std::vector<Discounts>& discounts, Output& output,
                  const Progress& progress) override {
    if (is_used_up_)
      throw std::logic_error("these counts have been used; count again for another estimation");
    is_used_up_ = true;
    const int order = static_cast<int>(orders_.size());
    Steps steps(progress);
    Interpolation<W> interpolation(memory_, packing_, order, output, steps);
    interpolation.EstimateUnigrams(unigrams_, discounts[0]);
    for (int n = 2; n <= order; ++n) {
      interpolation.Weigh(std::move(ngrams_[n - 2]), n,
                          discounts[n - 1]);  // also computes the back-offs of order n - 1
      output.BeginOrder(n - 1, orders_[n - 2].num_listed);
      interpolation.Write(n - 1);
      interpolation.Interpolate(n);
    }
    output.BeginOrder(order, orders_[order - 1].num_listed);
    interpolation.Write(order);
    return interpolation.log10_likelihood();
  }

 private:
  static void Count(Order& order, uint64_t adjusted, bool is_cut) {
    ++order.num_seen;
    order.num_listed += !is_cut;
    if (adjusted < order.with_count.size()) ++order.with_count[adjusted];
  }

  Memory& memory_;
  Packing<W> packing_;
  bool is_used_up_ = false;
  std::vector<uint64_t> unigrams_;          // adjusted counts by word
  std::vector<Sorter<Counted<W>>> ngrams_;  // [n - 2]: n-grams of order n, sorted by n-gram
};

// Calls f(integral_constant<int, W>) with the least W that has room for n-grams of `bits` bits per word.
template <class F>
auto WithWidth(int order, int bits, F&& f) {
  if (order * bits <= 64) return f(std::integral_constant<int, 1>());
  if (order * bits <= 128) return f(std::integral_constant<int, 2>());
  if (order * bits <= 192) return f(std::integral_constant<int, 3>());
  return f(std::integral_constant<int, 4>());
}

int BitsFor(size_t num_words) {
  int bits = 2;
  while (num_words >> bits) ++bits;
  return bits;
}

}  // namespace

std::unique_ptr<Counts> Counts::Make(Corpus& corpus, int order, const std::vector<uint64_t>& cutoffs,
                                     const Progress& progress) {
  const int bits = BitsFor(corpus.words().size());
  return WithWidth(order, bits, [&](auto width) -> std::unique_ptr<Counts> {
    return std::make_unique<PackedCounts<width>>(corpus, order, bits, cutoffs, progress);
  });
}

void WriteNgrams(Corpus& corpus, int order, const BlockSink& sink, const Progress& progress) {
  constexpr size_t kBlock = 1 << 20;
  if (corpus.num_unknown()) throw std::logic_error("counts of a text have all its words; select all");
  const int bits = BitsFor(corpus.words().size());
  WithWidth(order, bits, [&](auto width) {
    const Packing<width> packing(bits);
    NgramPacker packer(order);
    std::string block;
    Steps steps(progress);
    SortNgrams(corpus, order, packing, progress).Drain([&](const Counted<width>& ngram) {
      packer.Add({packing.Unpack(ngram.key, order), ngram.count}, block);
      steps.Step();
      if (block.size() < kBlock) return;
      sink(block);
      block.clear();
    });
    if (!block.empty()) sink(block);
  });
}

}  // namespace asr::lm
