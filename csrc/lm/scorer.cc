#include "scorer.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace asr::lm {

namespace {

constexpr double kImpossible = -100.0;  // log10 probability of a word that the model cannot predict
constexpr char kDamaged[] = "its n-grams are damaged";

}  // namespace

Scorer::Scorer(Arrays arrays) : arrays_(std::move(arrays)) {
  const auto& begin = arrays_.order_begin;
  if (begin.size() < 3 || begin[0] != 0 || begin[1] != 1 || !std::is_sorted(begin.begin(), begin.end()))
    throw std::invalid_argument("its orders do not follow one another");
}

void Scorer::PointToOwn() {
  arrays_.word = word_.data();
  arrays_.log10_prob = log10_prob_.data();
  arrays_.log10_backoff = log10_backoff_.data();
  arrays_.first = first_.data();
  arrays_.shorter = shorter_.data();
}

void Scorer::AddOrder(const int32_t* ids, int n, uint64_t size, const float* log10_prob,
                      const float* log10_backoff) {
  if (size > UINT32_MAX - word_.size()) throw std::invalid_argument("the model has more than 2^32 n-grams");
  const Node lower = arrays_.order_begin[n - 1], lower_end = arrays_.order_begin[n], begin = lower_end;
  word_.reserve(word_.size() + size);
  Node history = lower;
  first_.push_back(begin);  // of `lower`
  for (uint64_t row = 0; row < size; ++row, ids += n) {
    const auto history_ids = [&] {
      return lower_ids_.data() + static_cast<size_t>(history - lower) * (n - 1);
    };
    while (history < lower_end && !std::equal(ids, ids + n - 1, history_ids())) {
      first_.push_back(static_cast<Node>(word_.size()));
      ++history;
    }
    const bool ascends = word_.size() == first_.back() || word_.back() < ids[n - 1];
    const bool is_word = n == 1 ? ids[0] == static_cast<int32_t>(row) : IsWord(ids[n - 1]);
    if (history == lower_end || !ascends || !is_word)
      throw std::invalid_argument("the " + std::to_string(n) +
                                  "-grams do not ascend by their ids, or one lacks its history");
    word_.push_back(ids[n - 1]);
  }
  first_.resize(lower_end, static_cast<Node>(word_.size()));
  lower_ids_.assign(ids - size * n, ids);
  log10_prob_.insert(log10_prob_.end(), log10_prob, log10_prob + size);
  log10_backoff_.insert(log10_backoff_.end(), log10_backoff, log10_backoff + size);
  arrays_.order_begin.push_back(static_cast<Node>(word_.size()));

  shorter_.resize(begin);
  PointToOwn();
  if (n == 1) return;
  // The suffixes of the order below: by now all orders up to it can be searched.
  for (Node node = lower, at = n > 2 ? arrays_.order_begin[n - 2] : 0; node < lower_end; ++node) {
    while (at + 1 < lower && first_[at + 1] <= node) ++at;
    shorter_[node] = Suffix(at, word_[node]);
  }
}

void Scorer::Finish() {
  first_.resize(arrays_.num_histories() + 1, static_cast<Node>(word_.size()));
  shorter_.shrink_to_fit();
  log10_backoff_.resize(shorter_.size());  // that of the highest order is 0
  log10_backoff_.shrink_to_fit();
  lower_ids_ = {};
  PointToOwn();
}

Scorer::Step Scorer::Score(Node state, int32_t word) const {
  if (state >= arrays_.num_histories() || (word != -1 && !IsWord(word)))
    throw std::invalid_argument("there is no state " + std::to_string(state) + " or no word " +
                                std::to_string(word));
  Node history = state, found = 0;
  double backoff = 0;
  while (word >= 0 && !(found = Find(history, word))) {
    backoff += arrays_.log10_backoff[history];
    history = Shorter(history);
  }
  if (word < 0) {
    for (; history; history = Shorter(history)) backoff += arrays_.log10_backoff[history];
    return {0, kImpossible + backoff, 1};
  }
  const auto& begin = arrays_.order_begin;
  const auto order = std::upper_bound(begin.begin(), begin.end(), found) - begin.begin() - 1;
  const double log10_prob = arrays_.log10_prob[found] + backoff;
  Node next = found;
  if (next >= arrays_.num_histories()) next = Suffix(history, word);
  if (next >= arrays_.num_histories()) throw std::invalid_argument(kDamaged);
  while (!IsState(next)) next = Shorter(next);
  return {next, log10_prob, static_cast<int>(order)};
}

Scorer::Node Scorer::Find(Node history, int32_t word) const {
  if (history == 0) return static_cast<Node>(word) + 1;
  const Node first = arrays_.first[history], last = arrays_.first[history + 1];
  if (first > last || last > arrays_.num_nodes()) throw std::invalid_argument(kDamaged);
  const int32_t *begin = arrays_.word + first, *end = arrays_.word + last;
  const int32_t* at = std::lower_bound(begin, end, word);
  return at == end || *at != word ? 0 : static_cast<Node>(at - arrays_.word);
}

// The longest listed suffix of the n-gram (history, word).
Scorer::Node Scorer::Suffix(Node history, int32_t word) const {
  while (history) {
    history = Shorter(history);
    if (const Node found = Find(history, word)) return found;
  }
  return 0;
}

Scorer::Node Scorer::Shorter(Node history) const {
  const Node shorter = arrays_.shorter[history];
  if (shorter >= history) throw std::invalid_argument(kDamaged);
  return shorter;
}

bool Scorer::IsWord(int32_t id) const {
  const auto& begin = arrays_.order_begin;
  return begin.size() > 2 && id >= 0 && static_cast<uint32_t>(id) < begin[2] - 1;
}

bool Scorer::IsState(Node node) const {
  return node == 0 || arrays_.first[node] < arrays_.first[node + 1] || arrays_.log10_backoff[node] != 0;
}

}  // namespace asr::lm
