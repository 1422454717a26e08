// Counting: word ids -> n-grams of the highest order, sorted by suffix -> adjusted counts of all orders. The
// pass over n-grams in suffix order follows Heafield et al. (2013).
#pragma once

#include <utility>
#include <vector>

#include "counts.h"
#include "key.h"
#include "sorter.h"

namespace asr::lm {

template <int W>
struct Counted {
  Key<W> key;
  uint64_t count : 63;
  uint64_t is_cut : 1;  // counted, but not listed in the model
  void operator+=(const Counted& other) { count += other.count; }
};

// Adds the reversed n-gram that ends at each word and at each `</s>`. Histories near the start of a sentence
// are padded with `<s>`, so that all n-grams have the same order.
template <int W>
void AddTokens(const Spool<int32_t>& tokens, const std::vector<int32_t>& new_ids, int order,
               Packing<W> packing, Sorter<Counted<W>>& sorter, Steps& steps) {
  const Key<W> begin = packing.Repeat(kBegin, order);
  Key<W> key = begin;
  for (typename Spool<int32_t>::Reader reader(tokens); reader.Peek(); reader.Pop()) {
    const uint32_t id = new_ids[*reader.Peek()];
    if (id == kBegin) {
      key = begin;
      continue;
    }
    key = packing.Precede(packing.Cut(key), id, order);
    sorter.Add({key, 1, 0});
    steps.Step();
  }
}

// Adds n-grams that were counted elsewhere, of which the first words beyond `order` are cut off.
template <int W>
void AddCounted(const CountedText& counted, const std::vector<int32_t>& new_ids, int order,
                Packing<W> packing, Sorter<Counted<W>>& sorter, Steps& steps) {
  std::vector<uint32_t> ids;  // id in the file -> id in the model
  for (const int32_t id : counted.ids) ids.push_back(new_ids[id]);
  counted.ForEach([&](const Reversed& ngram) {
    Key<W> key;
    for (int n = 0; n < order; ++n) key = packing.Append(key, ids[ngram.words[n]]);
    sorter.Add({key, ngram.count, 0});
    steps.Step();
  });
}

// The reversed n-grams of the highest order.
template <int W>
Sorter<Counted<W>> SortNgrams(Corpus& corpus, int order, Packing<W> packing, const Progress& progress) {
  Steps steps(progress);
  Sorter<Counted<W>> sorter(corpus.memory(), order * packing.bits(), corpus.memory().SorterBytes(order + 1));
  Corpus::Text text = corpus.Take();
  AddTokens(text.tokens, corpus.new_ids(), order, packing, sorter, steps);
  for (CountedText& each : text.counted) {
    const CountedText counted = std::move(each);  // gives its memory back when it has been read
    sorter.EndRun();
    AddCounted(counted, corpus.new_ids(), order, packing, sorter, steps);
  }
  return sorter;
}

// Receives n-grams of the highest order in suffix order and emits those of all orders with their adjusted
// counts: per order in suffix order, with the words no longer reversed.
template <int W, class Emit>  // emit(n, key, adjusted count, is_cut)
class Adjuster {
 public:
  Adjuster(int order, Packing<W> packing, const std::vector<uint64_t>& cutoffs, Emit emit)
      : order_(order), packing_(packing), cutoffs_(cutoffs), emit_(std::move(emit)) {}

  // `ngram` is reversed: its last word comes first.
  void Add(const Counted<W>& ngram) {
    const int same = CountShared(ngram.key);
    Close(same);
    for (int n = 1; n <= same; ++n) open_[n].seen += ngram.count;
    if (same > 0) ++open_[same].adjusted;  // one more distinct word precedes it
    const auto words = packing_.Unpack(ngram.key, order_);
    int n = same + 1;
    for (; n < order_ && words[n - 1] != kBegin; ++n) open_[n] = {1, ngram.count};
    open_[n] = {ngram.count, ngram.count};  // the whole n-gram, or one that begins with <s>
    num_open_ = n;
    last_ = ngram.key;
  }
  void Finish() { Close(0); }

 private:
  struct Open {
    uint64_t adjusted, seen;
  };

  // The number of last words that the n-gram shares with the previous one.
  int CountShared(const Key<W>& key) const {
    if (num_open_ == 0) return 0;
    int same = order_ - 1;
    for (Key<W> a = packing_.Cut(key), b = packing_.Cut(last_); a != b;
         a = packing_.Cut(a), b = packing_.Cut(b))
      --same;
    return same;
  }
  // Emits the open n-grams of more than `n` words: their counts are complete.
  void Close(int n) {
    for (; num_open_ > n; --num_open_) {
      const Key<W> key = packing_.Reverse(packing_.Cut(last_, order_ - num_open_), num_open_);
      emit_(num_open_, key, open_[num_open_].adjusted, open_[num_open_].seen <= cutoffs_[num_open_ - 1]);
    }
  }

  const int order_;
  const Packing<W> packing_;
  const std::vector<uint64_t>& cutoffs_;
  Emit emit_;
  std::array<Open, kMaxOrder + 1> open_{};  // by order: the suffixes of the last n-gram
  int num_open_ = 0;
  Key<W> last_;
};

}  // namespace asr::lm
