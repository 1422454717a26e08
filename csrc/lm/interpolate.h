// Estimation: adjusted counts -> probabilities and back-offs, one order at a time; each step is one pass over
// sorted n-grams. The formulas are in asr/lm/estimation.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "collect.h"
#include "counts.h"
#include "key.h"
#include "sorter.h"

namespace asr::lm {

template <int W>
class Interpolation {
 public:
  Interpolation(Memory& memory, Packing<W> packing, int order, Output& output, Steps& steps)
      : memory_(memory), packing_(packing), order_(order), output_(output), steps_(steps) {}

  // p(w) = (a(w) - D(a(w))) / sum_v a(v) + gamma() / V
  void EstimateUnigrams(const std::vector<uint64_t>& adjusted, const Discounts& discounts) {
    Group group;
    for (const uint64_t a : adjusted)
      if (a > 0) group.Add({{}, a, 0}, discounts);
    const double uniform = group.Backoff() / static_cast<double>(adjusted.size() - 1);
    for (uint32_t id = 0; id < adjusted.size(); ++id) {
      const Key<W> key = packing_.Append({}, id);
      const double prob = id == kBegin ? 1.0 : group.Share(adjusted[id], discounts) + uniform;
      lower_.Append({key, prob});
      Sorted(1).Add({key, prob});
      if (order_ == 1 && id != kBegin) seen_.Append(adjusted[id]);
    }
  }

  // First step of order n, in order of histories: the discounted share of each n-gram, and the back-offs of
  // order n - 1.
  void Weigh(Sorter<Counted<W>> ngrams, int n, const Discounts& discounts) {
    by_suffix_ = Sorter<Weighed>(memory_, n * packing_.bits(), memory_.SorterBytes(order_ + 1));
    std::vector<Counted<W>> same_history;
    const auto finish = [&] {
      if (!same_history.empty()) WeighGroup(same_history, n, discounts);
      same_history.clear();
    };
    Key<W> history;
    ngrams.Drain([&](const Counted<W>& ngram) {
      if (const Key<W> key = packing_.Cut(ngram.key); key != history) {
        finish();
        history = key;
      }
      same_history.push_back(ngram);
      steps_.Step();
    });
    finish();
  }

  // Second step, in suffix order: p(w | h) = share + gamma(h) p(w | h without its first word).
  void Interpolate(int n) {
    const Spool<Probability> lower = std::exchange(lower_, Spool<Probability>(memory_));
    typename Spool<Probability>::Reader suffix(lower);
    by_suffix_.Drain([&](const Weighed& ngram) {
      const Key<W> wanted = packing_.Cut(ngram.key);
      while (suffix.Peek()->key != wanted) suffix.Pop();
      const double prob = std::abs(ngram.share) + ngram.backoff * suffix.Peek()->value;
      if (n < order_) lower_.Append({ngram.key, prob});
      Sorted(n).Add({packing_.Reverse(ngram.key, n), std::signbit(ngram.share) ? -prob : prob});
      steps_.Step();
    });
  }

  // Third step, in order of n-grams: joins n-grams and back-offs and writes them to the output.
  void Write(int n) {
    const Spool<Probability> backoffs = std::exchange(backoffs_, Spool<Probability>(memory_));
    const Spool<uint64_t> seen = std::exchange(seen_, std::exchange(next_seen_, Spool<uint64_t>(memory_)));
    typename Spool<Probability>::Reader backoff(backoffs);
    typename Spool<uint64_t>::Reader count(seen);
    by_ngram_.Drain([&](const Probability& ngram) {
      const auto ids = packing_.Unpack(ngram.key, n);
      const float log10_prob = Log10(std::abs(ngram.value));
      float log10_backoff = 0.0f;
      if (backoff.Peek() && backoff.Peek()->key == ngram.key) {
        log10_backoff = Log10(backoff.Peek()->value);
        backoff.Pop();
      }
      if (IsWhole(ids[0], n) && !(n == 1 && ids[0] == kBegin)) {
        log10_likelihood_ += static_cast<double>(*count.Peek()) * log10_prob;
        count.Pop();
      }
      if (!std::signbit(ngram.value)) output_.Add(ids.data(), n, log10_prob, log10_backoff);
      steps_.Step();
    });
  }

  double log10_likelihood() const { return log10_likelihood_; }

 private:
  struct Probability {
    Key<W> key;
    double value;  // negative if the n-gram is not listed
  };
  struct Weighed {
    Key<W> key;     // reversed
    float share;    // -0 if the n-gram is not listed
    float backoff;  // of the history
  };
  // Sums over the n-grams of one history.
  struct Group {
    uint64_t total = 0;
    double taken = 0.0;
    void Add(const Counted<W>& ngram, const Discounts& discounts) {
      total += ngram.count;
      taken += ngram.is_cut ? static_cast<double>(ngram.count) : Discount(ngram.count, discounts);
    }
    double Share(uint64_t adjusted, const Discounts& discounts) const {
      return (static_cast<double>(adjusted) - Discount(adjusted, discounts)) / static_cast<double>(total);
    }
    double Backoff() const { return taken / static_cast<double>(total); }
  };
  static double Discount(uint64_t adjusted, const Discounts& discounts) {
    return adjusted == 0 ? 0.0 : discounts[std::min<uint64_t>(adjusted, 3) - 1];
  }
  static float Log10(double x) { return static_cast<float>(std::min(std::log10(x), 0.0)); }

  // Whether the adjusted count of such n-grams is how often the text predicts a word with them.
  bool IsWhole(uint32_t first_word, int n) const { return n == order_ || first_word == kBegin; }

  void WeighGroup(const std::vector<Counted<W>>& ngrams, int n, const Discounts& discounts) {
    Group group;
    for (const Counted<W>& ngram : ngrams) group.Add(ngram, discounts);
    const Key<W> history = packing_.Cut(ngrams[0].key);
    backoffs_.Append({history, group.Backoff()});
    const bool is_whole = IsWhole(packing_.Unpack(history, n - 1)[0], n);
    for (const Counted<W>& ngram : ngrams) {
      const double share = ngram.is_cut ? -0.0 : group.Share(ngram.count, discounts);
      by_suffix_.Add(
          {packing_.Reverse(ngram.key, n), static_cast<float>(share), static_cast<float>(group.Backoff())});
      if (is_whole) next_seen_.Append(ngram.count);
    }
  }
  Sorter<Probability>& Sorted(int n) {
    if (n != sorted_order_) {
      by_ngram_ = Sorter<Probability>(memory_, n * packing_.bits(), memory_.SorterBytes(order_ + 1));
      sorted_order_ = n;
    }
    return by_ngram_;
  }

  Memory& memory_;
  const Packing<W> packing_;
  const int order_;
  Output& output_;
  Steps& steps_;
  Spool<Probability> lower_{memory_};     // of the order below, in suffix order
  Spool<Probability> backoffs_{memory_};  // of the order below, in order of n-grams
  Spool<uint64_t> seen_{memory_};         // adjusted counts of n-grams for which IsWhole is true
  Spool<uint64_t> next_seen_{memory_};    // the same for the order above
  Sorter<Weighed> by_suffix_{memory_, 0, 0};
  Sorter<Probability> by_ngram_{memory_, 0, 0};
  int sorted_order_ = 0;
  double log10_likelihood_ = 0.0;
};

}  // namespace asr::lm
