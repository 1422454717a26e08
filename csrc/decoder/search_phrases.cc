// The part of the search that handles boosted phrases.
#include <algorithm>

#include "search.h"

namespace asr::decoder {

// Tokens with the same graph state and last label differ only in what their phrase states can still gain. A
// token is dropped if its cost stays above that of another even with the largest possible gain of its own and
// the smallest of the other; for a lattice, if it stays above by more than the lattice beam.
void Search::DropDominated() {
  const bool has_any =
      std::any_of(tokens_.begin(), tokens_.end(), [this](const Token& t) { return t.context > label_mask_; });
  if (!has_any) return;
  // Most tokens are alone in their states, which a count by a hash of the state shows at little cost.
  for (const Token& token : tokens_) {
    uint8_t& crowd = crowds_[CrowdOf(token.state)];
    crowd += crowd < 2;
  }
  states_.Clear(in_phrase_.size());
  rivals_.clear();
  in_phrase_.clear();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const Token& token = tokens_[i];
    if (token.context <= label_mask_ || crowds_[CrowdOf(token.state)] < 2) continue;
    const int32_t last_label = LastLabel(token.context);
    const auto new_place = static_cast<int32_t>(rivals_.size());
    const int32_t place = states_.FindOrAdd(token.state, last_label, new_place, [this](int32_t p) {
      return StateMap::Key{rivals_[p].state, rivals_[p].last_label};
    });
    if (place == new_place) {
      const int32_t root = places_.Find(token.state, last_label, KeyOf());
      rivals_.push_back({token.state, last_label, root, root < 0 ? kDropped : tokens_[root].cost});
    }
    Rivals& rivals = rivals_[place];
    rivals.bound = std::min(rivals.bound, token.cost + phrases_->MaxFutureCost(PhraseState(token.context)));
    in_phrase_.emplace_back(static_cast<int32_t>(i), place);
  }
  for (const Token& token : tokens_) crowds_[CrowdOf(token.state)] = 0;
  if (in_phrase_.empty()) return;
  const float margin = std::max(0.0f, options_.lattice_beam);
  for (const auto& [place, at] : in_phrase_) {
    Token& token = tokens_[place];
    const float least = token.cost + phrases_->MinFutureCost(PhraseState(token.context));
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
