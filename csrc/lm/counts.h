// The n-grams of a text and their adjusted counts, from which a model is estimated.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "corpus.h"

namespace asr::lm {

// Subtracted from adjusted counts of 1, 2, and 3 or more.
using Discounts = std::array<double, 3>;

// Called from time to time with the number of n-grams (or words) processed since the last call.
using Progress = std::function<void(uint64_t)>;

// Calls `progress` once per 50,000 steps.
class Steps {
 public:
  explicit Steps(Progress progress) : progress_(std::move(progress)) {}
  void Step() {
    if (++num_ < 50000) return;
    progress_(num_);
    num_ = 0;
  }

 private:
  const Progress progress_;
  uint64_t num_ = 0;
};

// Receives the n-grams of a model: those of order 1 in ascending order of their ids, then those of order 2
// and so on.
class Output {
 public:
  virtual ~Output() = default;
  virtual void BeginOrder(int n, uint64_t size) = 0;
  // `log10_backoff` is 0 at the highest order and for n-grams that are not the history of another.
  virtual void Add(const uint32_t* ids, int n, float log10_prob, float log10_backoff) = 0;
};

// Receives the bytes of a file, block by block.
using BlockSink = std::function<void(std::string_view)>;

// Writes the n-grams of the highest order as counted.h packs them, in blocks of whole n-grams. All words of
// the corpus must have been selected; their ids are those of the model.
void WriteNgrams(Corpus& corpus, int order, const BlockSink& sink, const Progress& progress);

class Counts {
 public:
  // Counts n-grams of the orders 1 to `order`; at least one sentence must have `order` words, marks included.
  // N-grams that occur `cutoffs[n - 1]` times or less will not be listed; cutoffs must not decrease, and the
  // first is 0.
  static std::unique_ptr<Counts> Make(Corpus& corpus, int order, const std::vector<uint64_t>& cutoffs,
                                      const Progress& progress);
  virtual ~Counts() = default;

  // Estimates the model, once. Returns the log10 probability of the text under it.
  virtual double Estimate(const std::vector<Discounts>& discounts, Output& output,
                          const Progress& progress) = 0;

  struct Order {
    uint64_t num_seen = 0;    // distinct n-grams, including unlisted ones
    uint64_t num_listed = 0;  // those in the model
    // [k]: number of n-grams with adjusted count k, including unlisted ones.
    std::array<uint64_t, 5> with_count{};
  };
  const std::vector<Order>& orders() const { return orders_; }

 protected:
  std::vector<Order> orders_;
};

}  // namespace asr::lm
