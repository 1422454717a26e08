// The n-grams of a text and their adjusted counts; what a model of them is estimated from.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "corpus.h"

namespace asr::lm {

// What is taken off adjusted counts of 1, 2, and 3 or more.
using Discounts = std::array<double, 3>;

// Told now and then, with the number of n-grams (or tokens) handled since the last time.
using Progress = std::function<void(uint64_t)>;

// Tells `progress` of steps by the ten thousands.
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

// Takes the n-grams of a model: all of order 1 in ascending order of their ids, then of order 2 ...
class Output {
 public:
  virtual ~Output() = default;
  virtual void BeginOrder(int n, uint64_t size) = 0;
  // `log10_backoff` is 0 at the highest order and where the n-gram is nobody's history.
  virtual void Add(const uint32_t* ids, int n, float log10_prob, float log10_backoff) = 0;
};

class Counts {
 public:
  // Of the orders 1 to `order`, which no sentence with its marks is shorter than at least once. An n-gram
  // seen `cutoffs[n - 1]` times or less will not be listed; cutoffs do not fall, and the first is 0.
  static std::unique_ptr<Counts> Of(Corpus& corpus, int order, const std::vector<uint64_t>& cutoffs,
                                    const Progress& progress);
  virtual ~Counts() = default;

  // Estimates the model, once. Returns the log10 probability of the text itself.
  virtual double Estimate(const std::vector<Discounts>& discounts, Output& output,
                          const Progress& progress) = 0;

  struct Order {
    uint64_t num_seen = 0;    // different n-grams, unlisted ones among them
    uint64_t num_listed = 0;  // of these in the model
    std::array<uint64_t, 5>
        with_count{};  // [k]: how many have the adjusted count k, unlisted ones among them
  };
  const std::vector<Order>& orders() const { return orders_; }

 protected:
  std::vector<Order> orders_;
};

}  // namespace asr::lm
