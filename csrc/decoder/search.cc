#include "search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "costs.h"

namespace asr::decoder {
namespace {

// Cutoffs are finite even with an infinite beam, so that `cost <= cutoff` is false for infinite and NaN
// costs.
constexpr float kMaxCost = std::numeric_limits<float>::max();
// Kaldi's beam_delta: when max_active or min_active sets the cutoff, the beam of the next frame is wider by
// this much.
constexpr float kBeamDelta = 0.5f;
constexpr float kRounding = 1e-5f;  // of a cost, relative; more than any that occurs
constexpr size_t kTokensAhead = 8;  // how far ahead arcs are prefetched
constexpr int64_t kDropEvery = 2;   // DropDominated in each frame would cost more than it gains
constexpr size_t kMaxStays = 2;     // number of steps of an implicit topology without an arc, per token

int NumBits(int32_t number) {
  int bits = 0;
  for (; number > 0; number >>= 1) ++bits;
  return bits;
}

}  // namespace

Search::Search(const Graph& graph, const SearchOptions& options)
    : graph_(graph),
      options_(options),
      penalty_{0.0f, options.word_penalty},
      label_bits_(graph.header().is_implicit != 0 ? NumBits(std::max(kBlankLabel, graph.header().max_ilabel))
                                                  : 0),
      label_mask_(static_cast<int32_t>((uint32_t{1} << label_bits_) - 1)) {}

void Search::Init(const Phrases* phrases) {
  const int64_t num_contexts = int64_t{phrases == nullptr ? 1 : phrases->num_states()} << label_bits_;
  if (num_contexts - 1 > std::numeric_limits<int32_t>::max()) {
    throw std::invalid_argument("the boosted phrases and the tokens of the net need " +
                                std::to_string(num_contexts) +
                                " contexts, more than 2^31; boost fewer phrases");
  }
  if (phrases != nullptr && phrases->max_label() < graph_.header().max_olabel)
    throw std::invalid_argument(
        "the boosted phrases were made for a graph with fewer words; make them again");
  phrases_ = phrases;
  is_broken_ = true;
  pool_.Clear();
  places_.Clear(1);
  tokens_.clear();
  links_.Clear();
  offset_ = 0;
  skipped_cost_ = 0;
  num_frames_ = 0;
  is_dead_ = false;
  blank_run_ = 0;
  searched_frames_.clear();

  const auto start = static_cast<int32_t>(graph_.header().start);
  best_ = places_.FindOrAdd(start, 0, 0, KeyOf());
  tokens_.emplace_back(start, 0, 0.0f, kNoRecord);
  if (KeepsLattice()) links_.Begin(0);
  const float cutoff = std::min(options_.beam, kMaxCost);
  ProcessEpsilon(cutoff);
  if (KeepsLattice()) FinishLayer(cutoff);
  is_broken_ = false;
}

void Search::RequireUnbroken() const {
  if (is_broken_)
    throw std::invalid_argument("the search has failed before and cannot continue; start another");
}

void Search::Advance(const float* log_probs, int64_t num_frames, int64_t num_tokens) {
  RequireUnbroken();
  const int32_t least_tokens = std::max(IsImplicit() ? kBlankLabel : 0, graph_.header().max_ilabel);
  if (num_frames > 0 && num_tokens < least_tokens) {
    throw std::invalid_argument("the log-probs have " + std::to_string(num_tokens) +
                                " tokens and the graph uses " + std::to_string(least_tokens) +
                                " input labels; use a graph made with the token table of this model");
  }
  for (int64_t f = 0; f < num_frames; ++f, ++num_frames_) {
    const float* frame = log_probs + f * num_tokens;
    CheckFrame(frame, num_tokens);
    const bool is_blank = num_tokens >= kBlankLabel && frame[kBlankLabel - 1] >= options_.blank_skip;
    if (is_dead_) continue;
    blank_run_ = is_blank ? std::min(blank_run_ + 1, 3) : 0;
    if (blank_run_ == 3) {
      const float cost = -options_.acoustic_scale * frame[kBlankLabel - 1] + TokenCost(kBlankLabel);
      offset_ += cost;
      skipped_cost_ += cost;
      continue;
    }
    is_broken_ = true;
    SearchFrame(frame, num_tokens, blank_run_ == 2);
    is_broken_ = false;
  }
}

void Search::CheckFrame(const float* log_probs, int64_t num_tokens) const {
  bool is_bad = false;
  for (int64_t k = 0; k < num_tokens; ++k) is_bad |= !(log_probs[k] <= kMaxCost);
  if (is_bad) {
    throw std::invalid_argument("frame " + std::to_string(num_frames_) +
                                " of the log-probs has NaN or +infinity; check the model and its input");
  }
}

void Search::SearchFrame(const float* log_probs, int64_t num_tokens, bool only_blank) {
  ScoreFrame(log_probs, num_tokens);
  float next_cutoff;
  is_dead_ = !ProcessEmitting(FindCutoff(), only_blank, &next_cutoff);
  if (is_dead_) return;
  searched_frames_.push_back(static_cast<int32_t>(num_frames_));
  offset_ += best_before_;
  skipped_cost_ = 0;
  ProcessEpsilon(next_cutoff);
  if (phrases_ != nullptr && !is_limited_ && num_frames_ % kDropEvery == 0) DropDominated();
  if (KeepsLattice()) FinishLayer(next_cutoff);
  if (pool_.IsFull()) pool_.CollectGarbage(&tokens_);
  if (pool_.IsBeyondNumbers())
    throw std::invalid_argument(
        "the paths of this utterance need more than 2^30 records; use a smaller beam or decode shorter "
        "pieces");
}

void Search::ScoreFrame(const float* log_probs, int64_t num_tokens) {
  acoustic_.resize(num_tokens + 1);
  acoustic_[kEpsilonLabel] = kInfinity;
  best_before_ = tokens_[best_].cost;
  for (int64_t k = 0; k < num_tokens; ++k)
    acoustic_[k + 1] = -options_.acoustic_scale * log_probs[k] - best_before_;
  const auto num_costs = std::min(num_tokens, static_cast<int64_t>(options_.token_costs.size()));
  for (int64_t k = 0; k < num_costs; ++k) acoustic_[k + 1] += options_.token_costs[k];
}

Search::Cutoff Search::FindCutoff() {
  const float best_cost = tokens_[best_].cost;
  const float beam_cutoff = std::min(best_cost + options_.beam, kMaxCost);
  size_t num_active = 0;
  for (const Token& token : tokens_) num_active += token.cost <= beam_cutoff;

  if (num_active > static_cast<size_t>(options_.max_active)) {
    const float cost = CostOfRank(options_.max_active, -kInfinity);
    DropTies(cost);
    return {cost, std::min(options_.beam, cost - best_cost + kBeamDelta)};
  }
  if (num_active < static_cast<size_t>(options_.min_active)) {
    const float cost = CostOfRank(options_.min_active - num_active, beam_cutoff);
    return {cost, cost < kMaxCost ? cost - best_cost + kBeamDelta : kInfinity};
  }
  return {beam_cutoff, options_.beam};
}

// The cost of the rank-th cheapest token, counted from 1, among those that cost more than `least`; kMaxCost
// if there are fewer.
float Search::CostOfRank(size_t rank, float least) {
  costs_.resize(tokens_.size());
  size_t size = 0;
  for (const Token& token : tokens_) {
    costs_[size] = token.cost;
    size += token.cost > least;
  }
  if (size < rank) return kMaxCost;
  costs_.resize(size);
  std::nth_element(costs_.begin(), costs_.begin() + (rank - 1), costs_.end());
  return std::min(costs_[rank - 1], kMaxCost);
}

// Of the tokens with exactly this cost, keeps the first ones, so that `max_active` tokens stay within it.
void Search::DropTies(float cost) {
  size_t num_within = 0;
  for (const Token& token : tokens_) num_within += token.cost <= cost;
  size_t surplus = num_within - options_.max_active;
  for (size_t i = tokens_.size(); surplus > 0; --i) {
    if (tokens_[i - 1].cost != cost || static_cast<int32_t>(i - 1) == best_) continue;
    tokens_[i - 1].cost = kDropped;
    --surplus;
  }
}

// Moves the tokens by one frame, with `only_blank` over blank alone. If none can move, leaves them unchanged
// and returns false.
bool Search::ProcessEmitting(const Cutoff& cutoff, bool only_blank, float* next_cutoff) {
  *next_cutoff = only_blank ? kMaxCost : FirstNextCutoff(cutoff);
  const size_t num_candidates = only_blank     ? FindBlanks(cutoff.now)
                                : IsImplicit() ? FindCandidatesOf<true>(cutoff.now, *next_cutoff)
                                               : FindCandidatesOf<false>(cutoff.now, *next_cutoff);
  if (num_candidates == 0) return false;
  places_.Clear(num_candidates);
  FindNexts(num_candidates);
  float best_cost = kInfinity;
  for (size_t c = 0; c < num_candidates; ++c) best_cost = std::min(best_cost, candidates_[c].cost);
  if (!(best_cost <= kMaxCost)) return false;
  *next_cutoff = std::max(best_cost, std::min(*next_cutoff, best_cost + cutoff.beam));

  if (KeepsLattice()) links_.Begin(offset_ + best_before_);
  best_ = 0;
  const bool has_context = IsImplicit() || phrases_ != nullptr;
  // The new tokens reuse the memory of the old ones, which is in the cache; only part of the old is kept.
  records_before_.clear();
  for (const Token& token : tokens_) records_before_.push_back(token.record);
  tokens_.clear();
  for (size_t c = 0; c < num_candidates; ++c)
    if (const Candidate& candidate = candidates_[c]; candidate.cost <= *next_cutoff)
      Reach(candidate, nexts_[c], records_before_[candidate.source], has_context ? contexts_[c] : 0);
  return true;
}

// Fills `nexts_` and, if tokens have contexts, `contexts_`. Prefetches what Reach will read for each
// candidate: it takes its steps one after the other, and would wait for each.
void Search::FindNexts(size_t num_candidates) {
  if (nexts_.size() < num_candidates) nexts_.resize(2 * num_candidates);
  if (IsImplicit() || phrases_ != nullptr) return FindContexts(num_candidates);
  for (size_t c = 0; c < num_candidates; ++c) {
    nexts_[c] = graph_.arcs()[candidates_[c].arc].next;
    places_.Prefetch(nexts_[c], 0);
    graph_.Prefetch(nexts_[c]);
  }
}

// As FindNexts. The candidates with a word, which are few, then get their exact costs: a branch among all
// candidates would be hard to predict.
void Search::FindContexts(size_t num_candidates) {
  if (contexts_.size() < num_candidates) {
    contexts_.resize(2 * num_candidates);
    with_word_.resize(2 * num_candidates);
  }
  size_t num_words = 0;
  for (size_t c = 0; c < num_candidates; ++c) {
    const auto [cost, arc, source] = candidates_[c];
    const Token& token = tokens_[source];
    nexts_[c] = arc & kStay ? token.state : graph_.arcs()[arc].next;
    contexts_[c] = AfterLabel(token.context, arc);
    places_.Prefetch(nexts_[c], contexts_[c]);
    graph_.Prefetch(nexts_[c]);
    with_word_[num_words] = static_cast<uint32_t>(c);
    num_words += OutputLabel(arc) != 0;
  }
  if (phrases_ == nullptr) return;
  for (size_t w = 0; w < num_words; ++w) phrases_->Prefetch(OutputLabel(candidates_[with_word_[w]].arc));
  for (size_t w = 0; w < num_words; ++w) {
    const uint32_t c = with_word_[w];
    const uint32_t arc = candidates_[c].arc;
    int32_t context;
    std::tie(candidates_[c].cost, context) = Take(tokens_[candidates_[c].source], graph_.arcs()[arc]);
    contexts_[c] = AfterLabel(context, arc);
  }
}

// A first cutoff for the next frame, from the best token alone: the final cutoff drops few of what passes it.
float Search::FirstNextCutoff(const Cutoff& cutoff) const {
  const Token& best = tokens_[best_];
  const int32_t last_label = LastLabel(best.context);
  const State& state = graph_.states()[best.state];
  float least = kMaxCost;
  if (IsImplicit())
    least = std::min({least, best.cost + acoustic_[kBlankLabel], best.cost + acoustic_[last_label]});
  for (const Arc *arc = graph_.emitting(state), *end = arc + state.num_emitting; arc != end; ++arc) {
    if (last_label != 0 && arc->ilabel == last_label) continue;
    least = std::min(least, Take(best, *arc).first);
  }
  return std::min(least + cutoff.beam, kMaxCost);
}

// Fills `candidates_` and returns their number. Nearly all of the search time is spent here. Few arcs become
// candidates and branch prediction fails, so the loop has no branch that is hard to predict: every arc is
// written, and kept by advancing the pointer.
template <bool kImplicit, Search::WordCosts kWordCosts>
size_t Search::FindCandidates(float cutoff, float next_cutoff) {
  constexpr bool kPhrases = kWordCosts == WordCosts::kBoosts, kFree = kWordCosts == WordCosts::kNone;
  const State* const states = states_at_.data();
  const Arc* const arcs = graph_.arcs();
  const Token* const tokens = tokens_.data();
  const size_t num_tokens = tokens_.size();
  float* const acoustic = acoustic_.data();
  const bool is_by_cost = kImplicit && graph_.is_by_cost();
  const float least = is_by_cost ? *std::min_element(acoustic_.begin() + 1, acoustic_.end()) : 0.0f;
  size_t num_candidates = 0;
  for (size_t i = 0; i < num_tokens; ++i) {
    if (i + kTokensAhead < num_tokens) {
      graph_.PrefetchArcs(states[i + kTokensAhead]);
    }
    const Token token = tokens[i];
    if (token.cost > cutoff) continue;
    const State state = states[i];
    const size_t most = num_candidates + state.num_emitting + kMaxStays;
    if (most > candidates_.size()) candidates_.resize(2 * most);
    const int32_t last_label = kImplicit ? LastLabel(token.context) : 0;
    const auto place = static_cast<uint32_t>(i);
    if (kImplicit) num_candidates = FindStays(token, place, next_cutoff, num_candidates);
    // Equal labels need a blank in between.
    const float repeated = kImplicit ? std::exchange(acoustic[last_label], kInfinity) : 0;
    // With phrases, candidates with a word may cost more by what their word may gain, and by what rounding
    // may lose; FindContexts computes their exact costs.
    const float boost = kPhrases ? phrases_->MinStepCost(PhraseState(token.context)) : 0.0f;
    const float word_cost[2] = {0.0f, penalty_[1] + boost};
    const float rounding = kRounding * (1 + std::fabs(word_cost[1]) + std::fabs(next_cutoff));
    const float cutoffs[2] = {next_cutoff, std::min(next_cutoff - word_cost[1] + rounding, kMaxCost)};
    Candidate* candidate = candidates_.data() + num_candidates;
    const float least_word_cost = std::min(word_cost[0], word_cost[1]);
    const uint32_t arc_end = state.arc_begin + state.num_emitting;
    for (uint32_t a = state.arc_begin; a < arc_end; ++a) {
      const Arc& arc = arcs[a];
      // Rounding is monotone, so no later arc has a candidate either.
      if (kImplicit && is_by_cost && token.cost + (least + (arc.cost + least_word_cost)) > next_cutoff) break;
      const float graph_cost = kFree || kPhrases ? arc.cost : arc.cost + word_cost[arc.olabel != 0];
      const float cost = token.cost + (acoustic[arc.ilabel] + graph_cost);
      candidate->cost = cost;
      candidate->arc = a;
      candidate->source = place;
      candidate += cost <= (kPhrases ? cutoffs[arc.olabel != 0] : next_cutoff);
    }
    num_candidates = candidate - candidates_.data();
    if (kImplicit) acoustic[last_label] = repeated;
  }
  return num_candidates;
}

template <bool kImplicit>
size_t Search::FindCandidatesOf(float cutoff, float next_cutoff) {
  if (phrases_ != nullptr) return FindCandidates<kImplicit, WordCosts::kBoosts>(cutoff, next_cutoff);
  if (penalty_[1] == 0) return FindCandidates<kImplicit, WordCosts::kNone>(cutoff, next_cutoff);
  return FindCandidates<kImplicit, WordCosts::kPenalty>(cutoff, next_cutoff);
}

// The steps over blank, the smallest label: arcs with it come first.
size_t Search::FindBlanks(float cutoff) {
  size_t num_candidates = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const Token& token = tokens_[i];
    if (token.cost > cutoff) continue;
    const auto source = static_cast<uint32_t>(i);
    const State& state = graph_.states()[token.state];
    if (num_candidates + state.num_emitting + kMaxStays > candidates_.size())
      candidates_.resize(2 * (num_candidates + state.num_emitting + kMaxStays));
    if (IsImplicit())
      candidates_[num_candidates++] = {token.cost + acoustic_[kBlankLabel], kStay | kBlankLabel, source};
    const uint32_t arc_end = state.arc_begin + state.num_emitting;
    for (uint32_t a = state.arc_begin; a < arc_end && graph_.arcs()[a].ilabel == kBlankLabel; ++a) {
      const Arc& arc = graph_.arcs()[a];
      candidates_[num_candidates++] = {Take(token, arc).first, a, source};
    }
  }
  return num_candidates;
}

// The steps of an implicit topology that stay in the same graph state: a blank, or the last label again.
size_t Search::FindStays(const Token& token, uint32_t source, float next_cutoff, size_t num_candidates) {
  const int32_t last_label = LastLabel(token.context);
  Candidate* candidate = candidates_.data() + num_candidates;
  float cost = token.cost + acoustic_[kBlankLabel];
  *candidate = {cost, kStay | kBlankLabel, source};
  candidate += cost <= next_cutoff;
  cost = token.cost + acoustic_[last_label];  // infinite after a blank
  *candidate = {cost, kStay | static_cast<uint32_t>(last_label), source};
  candidate += cost <= next_cutoff;
  return candidate - candidates_.data();
}

}  // namespace asr::decoder
