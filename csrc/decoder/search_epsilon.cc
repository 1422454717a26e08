// The part of the search that expands epsilon arcs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "search.h"

namespace asr::decoder {
namespace {

// The smallest gain for which an epsilon arc is taken, relative to 1 + |cost|: eight times float's rounding
// error.
constexpr float kMinGain = 1e-6f;
// Rounding error in the cost of an epsilon cycle: absolute, and relative to the sum of its absolute costs.
constexpr double kCycleRounding = 1e-4, kCycleShare = 1e-6;
// If boosts make an epsilon cycle negative, relaxation ends after this many more rounds.
constexpr size_t kLimitedRounds = 8;

}  // namespace

// Relaxation in rounds (Bellman-Ford): round r settles the states whose cheapest path has r epsilon arcs.
void Search::ProcessEpsilon(float cutoff) {
  frontier_.resize(tokens_.size());
  if (states_at_.size() < tokens_.size()) states_at_.resize(2 * tokens_.size());
  size_t size = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    graph_.Check(tokens_[i].state);
    const State& state = states_at_[i] = graph_.states()[tokens_[i].state];
    __builtin_prefetch(graph_.epsilon(state));
    graph_.PrefetchArcs(state);  // for the next frame
    frontier_[size] = static_cast<int32_t>(i);
    size += state.num_epsilon > 0;
  }
  frontier_.resize(size);
  is_limited_ = false;
  approaches_.resize(std::max(approaches_.size(), tokens_.size()));
  first_round_ = round_ + 1;
  // A path passes no token twice, so there are at most as many rounds as tokens.
  auto limit = std::numeric_limits<size_t>::max();
  for (size_t round = 1; !frontier_.empty() && round <= std::min(limit, tokens_.size()); ++round) {
    ++round_;
    reached_.clear();
    for (const int32_t place : frontier_) RelaxEpsilon(place, cutoff);
    frontier_.swap(reached_);
    if (is_limited_) limit = std::min(limit, round + kLimitedRounds);
  }
  if (is_limited_) SettleCosts();
}

// If relaxation ended early, a step may have come from a token that was improved later. Gives every token the
// cost of the path that its approaches form.
void Search::SettleCosts() {
  std::vector<bool> is_settled(tokens_.size(), false);
  std::vector<int32_t> chain;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    auto place = static_cast<int32_t>(i);
    for (; !is_settled[place] && approaches_[place].round >= first_round_; place = approaches_[place].parent)
      chain.push_back(place);
    for (; !chain.empty(); chain.pop_back()) {
      Token& token = tokens_[chain.back()];
      const Approach& approach = approaches_[chain.back()];
      const Token& parent = tokens_[approach.parent];
      int32_t context = parent.context;
      token.cost = parent.cost + ArcCost(graph_.arcs()[approach.arc], &context);
      token.record = pool_.Add(parent.record, approach.arc);
      is_settled[chain.back()] = true;
    }
  }
  for (size_t i = 0; i < tokens_.size(); ++i)
    if (tokens_[i].cost < tokens_[best_].cost) best_ = static_cast<int32_t>(i);
}

// Unlike Reach this never replaces a record: tokens of this frame may already point to it.
void Search::RelaxEpsilon(int32_t place, float cutoff) {
  const Token token = tokens_[place];
  if (token.cost > cutoff) return;
  const State state = states_at_[place];
  for (const Arc *arc = graph_.epsilon(state), *end = arc + state.num_epsilon; arc != end; ++arc) {
    int32_t context = token.context;
    const float cost = token.cost + ArcCost(*arc, &context);
    if (!(cost <= cutoff)) continue;

    const auto arc_index = static_cast<uint32_t>(arc - graph_.arcs());
    const auto new_place = static_cast<int32_t>(tokens_.size());
    const int32_t next_place = places_.FindOrAdd(arc->next, context, new_place, KeyOf());
    if (next_place == new_place) {
      graph_.Check(arc->next);
      tokens_.emplace_back(arc->next, context, cost, pool_.Add(token.record, arc_index));
      if (approaches_.size() < tokens_.size()) approaches_.resize(2 * tokens_.size());
      if (states_at_.size() < tokens_.size()) states_at_.resize(2 * tokens_.size());
      states_at_[next_place] = graph_.states()[arc->next];
      approaches_[next_place].round = 0;
    } else if (cost + kMinGain * (1.0f + std::fabs(cost)) < tokens_[next_place].cost &&
               !ClosesCycle(place, *arc, next_place, tokens_[next_place].cost - cost)) {
      tokens_[next_place].cost = cost;
      tokens_[next_place].record = pool_.Add(token.record, arc_index);
    } else {
      continue;
    }
    if (cost < tokens_[best_].cost) best_ = next_place;
    const bool is_pending = approaches_[next_place].round == round_;
    approaches_[next_place] = {place, arc_index, round_};
    if (!is_pending && states_at_[next_place].num_epsilon > 0) reached_.push_back(next_place);
  }
}

// Whether the path to `place` has passed `next_place` in this frame, so that the arc closes a cycle, with
// this gain. Throws if the cycle is negative without boosts.
bool Search::ClosesCycle(int32_t place, const Arc& arc, int32_t next_place, float gain) {
  double cost = double{arc.cost} + penalty_[arc.olabel != 0], size = std::fabs(cost);
  for (; place != next_place; place = approaches_[place].parent) {
    if (approaches_[place].round < first_round_) return false;
    const Arc& step = graph_.arcs()[approaches_[place].arc];
    const double step_cost = double{step.cost} + penalty_[step.olabel != 0];
    cost += step_cost;
    size += std::fabs(step_cost);
  }
  const double rounding = kCycleRounding + kCycleShare * size;
  if (cost < -rounding) {
    throw std::invalid_argument("the graph has a cycle of epsilon arcs with negative cost through state " +
                                std::to_string(tokens_[next_place].state) +
                                " (word penalties included); remove the cycle or raise the word penalty");
  }
  is_limited_ = is_limited_ || (phrases_ != nullptr && gain > rounding);
  return true;
}

// Stores the final costs of the tokens of this frame and the epsilon steps between them.
void Search::FinishLayer(float cutoff) {
  links_.BeginEpsilon();
  const auto num_tokens = static_cast<int32_t>(tokens_.size());
  for (int32_t place = 0; place < num_tokens; ++place) {
    const Token token = tokens_[place];
    links_.AddNode(token.cost);
    if (token.cost > cutoff) continue;
    const State& state = states_at_[place];
    for (const Arc *arc = graph_.epsilon(state), *end = arc + state.num_epsilon; arc != end; ++arc) {
      int32_t context = token.context;
      const float cost = token.cost + ArcCost(*arc, &context);
      if (!(cost <= cutoff)) continue;
      const int32_t next_place = places_.Find(arc->next, context, KeyOf());
      if (next_place < 0 || next_place == place) continue;
      if (is_limited_ && cost + kLatticeRounding < tokens_[next_place].cost) continue;
      links_.AddEpsilon(place, next_place, static_cast<uint32_t>(arc - graph_.arcs()), cost);
    }
  }
  if (links_.IsFull()) links_.CollectGarbage(options_.lattice_beam + kLatticeRounding);
}

}  // namespace asr::decoder
