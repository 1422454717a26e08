#include "vocabulary.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "costs.h"
#include "graph.h"

namespace asr::decoder {
namespace {

// A difference of two sums below this share of the larger sum is too inexact to use.
constexpr double kMinShare = 1e-7;

void AddMasses(Leaves* leaves) {
  leaves->push_back({0, 0.0f, 0, 0.0});
  double mass = 0;
  for (Leaf& leaf : *leaves) {
    leaf.mass = mass;
    mass += std::exp(-double{leaf.cost});
  }
}

}  // namespace

float CostOf(const Leaves& leaves, uint32_t begin, uint32_t end) {
  const double mass = leaves[end].mass - leaves[begin].mass;
  if (mass > kMinShare * leaves[end].mass) return static_cast<float>(-std::log(mass));
  float least = kInfinity;
  for (uint32_t i = begin; i < end; ++i) least = std::min(least, leaves[i].cost);
  double sum = 0;
  for (uint32_t i = begin; i < end; ++i) sum += std::exp(double{least} - leaves[i].cost);
  return static_cast<float>(least - std::log(sum));
}

Vocabulary::Vocabulary(const Language& language, const std::vector<Slot>& slots)
    : language_(language),
      tree_(language.tree()),
      num_shared_(tree_.num_spellings()),
      max_ilabel_(tree_.max_label()),
      max_olabel_(static_cast<int32_t>(tree_.num_words())),
      own_first_{0} {
  for (const Slot& slot : slots) AddSlot(slot);
}

void Vocabulary::CheckSlot(const Slot& slot) const {
  if (slot.members.empty()) throw std::invalid_argument("a slot has no members");
  if (slot.word >= int64_t{ngram().num_words()})
    throw std::invalid_argument("the word of a slot is not in the n-gram model");
  if (slot.final_costs.empty() || slot.final_costs[0] < kInfinity)
    throw std::invalid_argument("a slot may stay empty");
  for (const float cost : slot.final_costs)
    if (!(cost > -kInfinity)) throw std::invalid_argument("the final cost of a slot is not a number");
  for (const Slot::Member& member : slot.members) {
    if (member.labels.empty() || member.word < 1 || !std::isfinite(member.cost))
      throw std::invalid_argument("a new word has no spelling, no label or no finite cost");
    if (std::max(member.from, member.to) >= slot.final_costs.size() || member.to == 0)
      throw std::invalid_argument("a member of a slot has a state that is out of range");
    for (const int32_t label : member.labels)
      if (label <= kBlankLabel || label > kMaxLabel)
        throw std::invalid_argument("a new word has an input label that is not a token");
  }
}

void Vocabulary::AddSlot(const Slot& slot) {
  CheckSlot(slot);
  const auto first = static_cast<uint32_t>(places_.size());
  if (slot.word < 0) {
    open_.push_back({first, 0.0f, 0});
  } else if (!slot_of_.try_emplace(static_cast<uint32_t>(slot.word), first).second) {
    throw std::invalid_argument("two slots have the same word");
  }
  for (const float cost : slot.final_costs) places_.push_back({{}, cost, false});
  places_[first].is_first = true;
  std::vector<bool> continues(slot.final_costs.size(), false);
  for (const Slot::Member& member : slot.members) continues[member.from] = true;
  for (const Slot::Member& member : slot.members) {
    const bool ends = !continues[member.to];  // the slot's last word pays for leaving it
    const float cost = member.cost + (ends ? slot.final_costs[member.to] : 0.0f);
    const auto spelling = num_shared_ + static_cast<uint32_t>(own_words_.size());
    if (!std::isfinite(cost)) throw std::invalid_argument("a state of a slot leads nowhere");
    places_[first + member.from].leaves.push_back({spelling, cost, ends ? kSlotEnd : first + member.to, 0.0});
    AddSpelling(member);
  }
  for (size_t place = first; place < places_.size(); ++place) {
    Leaves& leaves = places_[place].leaves;
    std::sort(leaves.begin(), leaves.end(), [this](const Leaf& a, const Leaf& b) {
      const uint32_t shorter = std::min(length(a.spelling), length(b.spelling));
      for (uint32_t k = 0; k < shorter; ++k) {
        const int32_t x = label(a.spelling, k), y = label(b.spelling, k);
        if (x != y) return x < y;
      }
      return std::make_pair(length(a.spelling), a.spelling) < std::make_pair(length(b.spelling), b.spelling);
    });
    AddMasses(&leaves);
  }
}

void Vocabulary::AddSpelling(const Slot::Member& member) {
  own_words_.push_back(member.word);
  max_olabel_ = std::max(max_olabel_, member.word);
  for (const int32_t label : member.labels) {
    max_ilabel_ = std::max(max_ilabel_, label);
    const auto next = tree_.num_suffixes() + static_cast<uint32_t>(own_suffixes_.size()) + 1;
    own_suffixes_.push_back({static_cast<uint32_t>(label), next});
  }
  own_suffixes_.back().next = 0;
  own_first_.push_back(static_cast<uint32_t>(own_suffixes_.size()));
}

Leaves Vocabulary::AfterHistory(uint32_t history) const {
  Leaves leaves;
  for (const Ngram::Arc* arc = ngram().begin(history); arc != ngram().end(history); ++arc)
    for (const uint32_t *spelling = language_.begin(arc->word), *end = language_.end(arc->word);
         spelling != end; ++spelling)
      leaves.push_back({*spelling, arc->cost + tree_.cost(*spelling), arc->next, 0.0});
  std::sort(leaves.begin(), leaves.end(),
            [](const Leaf& a, const Leaf& b) { return a.spelling < b.spelling; });
  AddMasses(&leaves);
  return leaves;
}

std::vector<Vocabulary::Opening> Vocabulary::Openings(uint32_t history) const {
  std::vector<Opening> openings;
  if (history == 0) openings = open_;
  for (const auto& [word, place] : slot_of_) {  // arcs are sorted by word
    const Ngram::Arc* end = ngram().end(history);
    const Ngram::Arc* arc = std::lower_bound(ngram().begin(history), end, word,
                                             [](const Ngram::Arc& a, uint32_t w) { return a.word < w; });
    if (arc != end && arc->word == word) openings.push_back({place, arc->cost, arc->next});
  }
  for (Opening& opening : openings) {
    const Leaves& leaves = places_[opening.place].leaves;
    opening.cost += CostOf(leaves, 0, static_cast<uint32_t>(leaves.size()) - 1);
  }
  return openings;
}

}  // namespace asr::decoder
