#include "search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace asr {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Cutoffs are finite even with an infinite beam, so that `cost <= cutoff` is false for infinite and NaN
// costs.
constexpr float kMaxCost = std::numeric_limits<float>::max();
// Kaldi's beam_delta: what the beam of a number of tokens is widened by for the next frame.
constexpr float kBeamDelta = 0.5f;
// What an epsilon arc must gain, relative to 1 + |cost|: eight times the rounding of a float.
constexpr float kLeastGain = 1e-6f;
// How many tokens ahead the memory of arcs is asked for.
constexpr size_t kTokensAhead = 8;

}  // namespace

void Search::Init() {
  pool_.Clear();
  places_.Clear();
  tokens_.clear();
  offset_ = 0;
  num_frames_ = 0;
  is_dead_ = false;
  was_blank_ = false;
  searched_frames_.clear();

  const int32_t start = static_cast<int32_t>(graph_.header().start);
  best_ = places_.FindOrAdd(start, 0);
  tokens_.push_back({start, 0.0f, kNoRecord});
  ProcessEpsilon(std::min(options_.beam, kMaxCost));
}

void Search::Advance(const float* log_probs, int64_t num_frames, int64_t num_tokens) {
  if (num_frames > 0 && num_tokens < graph_.header().max_ilabel) {
    throw std::invalid_argument("the log-probs have " + std::to_string(num_tokens) +
                                " tokens and the graph uses " + std::to_string(graph_.header().max_ilabel) +
                                " input labels; use the graph made with this model's token table");
  }
  for (int64_t f = 0; f < num_frames; ++f, ++num_frames_) {
    const float* frame = log_probs + f * num_tokens;
    CheckFrame(frame, num_tokens);
    const bool is_blank = num_tokens >= kBlankLabel && frame[kBlankLabel - 1] >= options_.blank_skip;
    if (is_blank && was_blank_) {
      offset_ += options_.blank_penalty - options_.acoustic_scale * frame[kBlankLabel - 1];
      continue;
    }
    was_blank_ = is_blank;
    SearchFrame(frame, num_tokens);
  }
}

void Search::CheckFrame(const float* log_probs, int64_t num_tokens) const {
  bool is_bad = false;
  for (int64_t k = 0; k < num_tokens; ++k) is_bad |= !(log_probs[k] <= kMaxCost);
  if (is_bad) {
    throw std::invalid_argument("frame " + std::to_string(num_frames_) +
                                " of the log-probs holds NaN or +infinity; check the model and its input");
  }
}

void Search::SearchFrame(const float* log_probs, int64_t num_tokens) {
  if (is_dead_) return;
  ScoreFrame(log_probs, num_tokens);
  const float best_cost = tokens_[best_].cost;
  float next_cutoff;
  is_dead_ = !ProcessEmitting(FindCutoff(), &next_cutoff);
  if (is_dead_) return;
  searched_frames_.push_back(static_cast<int32_t>(num_frames_));
  offset_ += best_cost;
  ProcessEpsilon(next_cutoff);
  if (pool_.IsFull()) pool_.CollectGarbage(&tokens_);
}

void Search::ScoreFrame(const float* log_probs, int64_t num_tokens) {
  acoustic_.resize(num_tokens + 1);
  acoustic_[kEpsilonLabel] = kInfinity;
  const float best_cost = tokens_[best_].cost;
  for (int64_t k = 0; k < num_tokens; ++k)
    acoustic_[k + 1] = -options_.acoustic_scale * log_probs[k] - best_cost;
  if (num_tokens >= kBlankLabel) acoustic_[kBlankLabel] += options_.blank_penalty;
}

Search::Cutoff Search::FindCutoff() {
  const float best_cost = tokens_[best_].cost;
  const float beam_cutoff = std::min(best_cost + options_.beam, kMaxCost);
  size_t num_active = 0;
  for (const Token& token : tokens_) num_active += token.cost <= beam_cutoff;

  if (num_active > static_cast<size_t>(options_.max_active)) {
    const float cost = CostOfRank(options_.max_active);
    return {cost, std::min(options_.beam, cost - best_cost + kBeamDelta)};
  }
  if (num_active < static_cast<size_t>(options_.min_active)) {
    const float cost = CostOfRank(options_.min_active);
    return {cost, cost < kMaxCost ? cost - best_cost + kBeamDelta : kInfinity};
  }
  return {beam_cutoff, options_.beam};
}

// The cost of the rank-th cheapest token, from 1; the largest cost of all when there are fewer tokens.
float Search::CostOfRank(size_t rank) {
  if (tokens_.size() < rank) return kMaxCost;
  costs_.clear();
  for (const Token& token : tokens_) costs_.push_back(token.cost);
  std::nth_element(costs_.begin(), costs_.begin() + (rank - 1), costs_.end());
  return costs_[rank - 1];
}

// Moves the tokens by one frame. False, leaving them where they are, when none can.
bool Search::ProcessEmitting(const Cutoff& cutoff, float* next_cutoff) {
  *next_cutoff = FirstNextCutoff(cutoff);
  const size_t num_candidates = FindCandidates(cutoff.now, *next_cutoff);
  if (num_candidates == 0) return false;

  float best_cost = kInfinity;
  for (size_t c = 0; c < num_candidates; ++c) best_cost = std::min(best_cost, candidates_[c].cost);
  *next_cutoff = std::min(*next_cutoff, best_cost + cutoff.beam);

  tokens_.clear();
  places_.Clear();
  best_ = 0;
  for (size_t c = 0; c < num_candidates; ++c) {
    if (candidates_[c].cost <= *next_cutoff) Reach(candidates_[c]);
  }
  return true;
}

// A first cutoff of the next frame, from the best token alone: few pass it that the final one drops.
float Search::FirstNextCutoff(const Cutoff& cutoff) const {
  const Token& best = tokens_[best_];
  const State& state = graph_.states()[best.state];
  float least = kMaxCost;
  for (const Arc *arc = graph_.emitting(state), *end = arc + state.num_emitting; arc != end; ++arc) {
    least = std::min(least, best.cost + (acoustic_[arc->ilabel] + (arc->cost + penalty_[arc->olabel != 0])));
  }
  return std::min(least + cutoff.beam, kMaxCost);
}

// Fills `candidates_` and returns how many there are. Nearly all the time of a search passes here. Few arcs
// lead to a candidate and no processor guesses which, so each is written, and kept by stepping on: the loop
// has no branch.
size_t Search::FindCandidates(float cutoff, float next_cutoff) {
  const State* const states = graph_.states();
  const Arc* const arcs = graph_.arcs();
  const Token* const tokens = tokens_.data();
  const size_t num_tokens = tokens_.size();
  const float* const acoustic = acoustic_.data();
  size_t num_candidates = 0;
  for (size_t i = 0; i < num_tokens; ++i) {
    if (i + kTokensAhead < num_tokens) {
      const Arc* const ahead = arcs + states[tokens[i + kTokensAhead].state].arc_begin;
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + 64 / sizeof(Arc));  // the next cache line
    }
    const Token token = tokens[i];
    if (token.cost > cutoff) continue;
    const State& state = states[token.state];
    const size_t most = num_candidates + state.num_emitting;
    if (most > candidates_.size()) candidates_.resize(2 * most);
    Candidate* candidate = candidates_.data() + num_candidates;
    const uint32_t arc_end = state.arc_begin + state.num_emitting;
    for (uint32_t a = state.arc_begin; a < arc_end; ++a) {
      const Arc& arc = arcs[a];
      const float cost = token.cost + (acoustic[arc.ilabel] + (arc.cost + penalty_[arc.olabel != 0]));
      *candidate = {cost, a, token.record};
      candidate += cost <= next_cutoff;
    }
    num_candidates = candidate - candidates_.data();
  }
  return num_candidates;
}

// Puts a token where the candidate leads, or improves the one there.
void Search::Reach(const Candidate& candidate) {
  const int32_t state = graph_.arcs()[candidate.arc].next;
  const int32_t new_place = static_cast<int32_t>(tokens_.size());
  const int32_t place = places_.FindOrAdd(state, new_place);
  if (place == new_place) {
    __builtin_prefetch(&graph_.states()[state]);  // ProcessEpsilon will look at it
    tokens_.push_back({state, candidate.cost, pool_.Add(candidate.record, candidate.arc)});
  } else if (candidate.cost < tokens_[place].cost) {
    tokens_[place].cost = candidate.cost;
    pool_.Replace(tokens_[place].record, candidate.record, candidate.arc);
  }
  if (candidate.cost < tokens_[best_].cost) best_ = place;
}

// Rounds of relaxation (Bellman and Ford): round r settles the states whose cheapest path has r epsilon arcs.
void Search::ProcessEpsilon(float cutoff) {
  frontier_.resize(tokens_.size());
  size_t size = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const State& state = graph_.states()[tokens_[i].state];
    __builtin_prefetch(graph_.epsilon(state));
    frontier_[size] = static_cast<int32_t>(i);
    size += state.num_epsilon > 0;
  }
  frontier_.resize(size);
  for (size_t round = 0; !frontier_.empty(); ++round) {
    if (round > tokens_.size()) {
      throw std::invalid_argument("the graph has a cycle of epsilon arcs with negative cost through state " +
                                  std::to_string(tokens_[frontier_[0]].state) +
                                  " (word penalties included); the search would never end");
    }
    reached_.clear();
    for (const int32_t place : frontier_) RelaxEpsilon(place, cutoff);
    frontier_.swap(reached_);
  }
}

// Unlike Reach it never replaces a record: tokens of this frame may point to it already.
void Search::RelaxEpsilon(int32_t place, float cutoff) {
  const Token token = tokens_[place];
  if (token.cost > cutoff) return;
  const State& state = graph_.states()[token.state];
  for (const Arc *arc = graph_.epsilon(state), *end = arc + state.num_epsilon; arc != end; ++arc) {
    const float cost = token.cost + arc->cost + penalty_[arc->olabel != 0];
    if (!(cost <= cutoff)) continue;

    const uint32_t arc_index = static_cast<uint32_t>(arc - graph_.arcs());
    const int32_t new_place = static_cast<int32_t>(tokens_.size());
    const int32_t next_place = places_.FindOrAdd(arc->next, new_place);
    if (next_place == new_place) {
      tokens_.push_back({arc->next, cost, pool_.Add(token.record, arc_index)});
    } else if (cost + kLeastGain * (1.0f + std::fabs(cost)) < tokens_[next_place].cost) {
      tokens_[next_place].cost = cost;
      tokens_[next_place].record = pool_.Add(token.record, arc_index);
    } else {
      continue;
    }
    if (cost < tokens_[best_].cost) best_ = next_place;
    if (graph_.states()[arc->next].num_epsilon > 0) reached_.push_back(next_place);
  }
}

Path Search::Finalise() const {
  const Token* best = nullptr;
  float best_cost = kInfinity;
  bool is_final = false;
  for (const Token& token : tokens_) {
    const float final_cost = graph_.states()[token.state].final_cost;
    const bool ends = !is_dead_ && final_cost < kInfinity;
    const float cost = ends ? token.cost + final_cost : token.cost;
    if (best == nullptr || (ends && !is_final) || (ends == is_final && cost < best_cost)) {
      best = &token;
      best_cost = cost;
      is_final = ends;
    }
  }
  Path path = TracePath(*best);
  path.cost = offset_ + best_cost;
  path.complete = is_final;
  return path;
}

Partial Search::FindPartial() const {
  const Token& best = tokens_[best_];
  Partial partial{TracePath(best), 0, kInfinity};
  partial.path.cost = offset_ + best.cost;
  for (const Token& token : tokens_) {
    const float final_cost = token.cost + graph_.states()[token.state].final_cost - best.cost;
    if (!is_dead_) partial.final_cost = std::min(partial.final_cost, final_cost);
  }
  for (int32_t r = FindCommonRecord(); r != kNoRecord; r = pool_[r].previous)
    partial.num_stable += graph_.arcs()[pool_[r].arc].olabel != 0;
  return partial;
}

// The last record on the paths of all tokens, or kNoRecord. Records point to older ones: so the newest of
// those at hand, unless it is the only one, gives way to the one before it.
int32_t Search::FindCommonRecord() const {
  std::vector<int32_t> heap;
  for (const Token& token : tokens_) heap.push_back(token.record);
  std::make_heap(heap.begin(), heap.end());
  for (;;) {
    std::pop_heap(heap.begin(), heap.end());
    const int32_t newest = heap.back();
    heap.pop_back();
    if (heap.empty() || newest == kNoRecord) return newest;
    if (newest == heap.front()) continue;
    heap.push_back(pool_[newest].previous);
    std::push_heap(heap.begin(), heap.end());
  }
}

Path Search::TracePath(const Token& token) const {
  std::vector<const Arc*> arcs;
  for (int32_t r = token.record; r != kNoRecord; r = pool_[r].previous)
    arcs.push_back(graph_.arcs() + pool_[r].arc);

  Path path;
  path.alignment.assign(num_frames_, kBlankLabel - 1);
  int64_t num_searched = 0;
  int32_t frame = 0;
  for (auto arc = arcs.rbegin(); arc != arcs.rend(); ++arc) {
    if ((*arc)->ilabel != kEpsilonLabel) {
      frame = searched_frames_[num_searched++];
      path.alignment[frame] = (*arc)->ilabel - 1;
    }
    if ((*arc)->olabel == 0) continue;
    path.labels.push_back((*arc)->olabel);
    path.label_frames.push_back(frame);
  }
  return path;
}

}  // namespace asr
