// The part of the search that handles boosted phrases.
#include <algorithm>

#include "search.h"

namespace asr::decoder {

// Returns the cost of a word by the boosts and advances the context.
float Search::AfterWord(int32_t word, int32_t* context) const {
  const int32_t last_label = *context % stride_;
  const Phrases::Step step = phrases_->Take(*context / stride_, word);
  *context = step.state * stride_ + last_label;
  return step.cost;
}

// Replaces the lower bound in the cost of each candidate with a word by its exact cost.
void Search::AddBoosts(size_t num_candidates) {
  for (size_t c = 0; c < num_candidates; ++c) {
    Candidate& candidate = candidates_[c];
    if (OutputLabel(candidate.arc) == 0) continue;
    const Token& token = tokens_[candidate.source];
    const Arc& arc = graph_.arcs()[candidate.arc];
    int32_t context = token.context;
    candidate.cost = token.cost + (acoustic_[arc.ilabel] + ArcCost(arc, &context));
  }
}

// Tokens with the same graph state and last label differ only in what their phrase states can still gain. A
// token is dropped if its cost stays above that of another even with the largest possible gain of its own and
// the smallest of the other; for a lattice, if it stays above by more than the lattice beam.
void Search::DropDominated() {
  states_.Clear();
  rivals_.clear();
  in_phrase_.clear();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const Token& token = tokens_[i];
    if (token.context < stride_) continue;
    const int32_t last_label = token.context % stride_;
    const auto new_place = static_cast<int32_t>(rivals_.size());
    const int32_t place = states_.FindOrAdd(token.state, last_label, new_place,
                                            [this](int32_t p) { return rivals_[p].last_label; });
    if (place == new_place) {
      const int32_t root = places_.Find(token.state, last_label, ContextOf());
      rivals_.push_back({last_label, root, root < 0 ? kDropped : tokens_[root].cost});
    }
    Rivals& rivals = rivals_[place];
    rivals.bound = std::min(rivals.bound, token.cost + phrases_->MaxFutureCost(token.context / stride_));
    in_phrase_.emplace_back(static_cast<int32_t>(i), place);
  }
  if (in_phrase_.empty()) return;
  const float margin = std::max(0.0f, options_.lattice_beam);
  for (const auto& [place, at] : in_phrase_) {
    Token& token = tokens_[place];
    const float least = token.cost + phrases_->MinFutureCost(token.context / stride_);
    if (least > rivals_[at].bound + margin) token.cost = kDropped;
  }
  for (const Rivals& rivals : rivals_)
    if (rivals.root >= 0 && tokens_[rivals.root].cost > rivals.bound + margin)
      tokens_[rivals.root].cost = kDropped;
  if (tokens_[best_].cost != kDropped) return;
  for (size_t i = 0; i < tokens_.size(); ++i)
    if (tokens_[i].cost < tokens_[best_].cost) best_ = static_cast<int32_t>(i);
}

}  // namespace asr::decoder
