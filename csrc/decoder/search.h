// Token-passing Viterbi beam search through a decoding graph.
//
// The search minimises, over all paths pi through the graph that consume the F frames of log-probs,
//
//   cost(pi) =   sum over frames f  ( -acoustic_scale * log_probs[f][token(f)] + token_costs[token(f)] )
//              + sum over arcs a    ( cost(a) + word_penalty * [a has an output label] )
//              - sum over phrases p ( boost(p) * number of occurrences of p in the words of pi )
//              + final_cost(last state of pi)
//
// where token(f) is the token of the net that the path passes at frame f. All costs are negative natural
// logs: log-probs are natural logs, arc and final costs come from the graph. A blank penalty is the blank's
// entry in token_costs, which can also hold the costs of dividing by token priors. If no path ends in a final
// state, the final cost is left out and the result is marked incomplete. SearchOptions says how beam,
// max_active and lattice_beam restrict the paths.
//
// The search has five steps: Init puts one token on the start state; for each frame FindCutoff selects the
// tokens that stay active, ProcessEmitting moves them over emitting arcs and ProcessEpsilon spreads them over
// epsilon arcs; Finalize traces the best path back.
//
// Tokens with the same future are merged, and the cheapest is kept: those at the same graph state in the same
// context. The context holds the phrase state, if phrases are boosted, and the last frame's label, if the
// topology is implicit. In that case the graph has no CTC topology: the search itself may stay in a state on
// blank or on the last label, and takes an arc with that label only after a blank. The last label is in the
// low bits of the context, the phrase state in those above.
//
// Invariants:
//
// - Token costs are relative: at the start of each frame the best is 0, and `offset_` holds what has been
//   subtracted. Floats thus keep their precision over utterances of any length.
// - Between frames, every state that epsilon arcs reach within the cutoff has its cheapest token.
// - An epsilon arc is only taken if it lowers the cost of a token by more than rounding errors, and never if
//   the path already passed that token in this frame. A graph whose own costs would gain by such a step has a
//   cycle of negative cost and is refused at once; a step that only boosts make a gain is left out.
// - Of tokens with equal cost the first one is kept, so results are the same on every run.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "graph.h"
#include "lattice.h"
#include "links.h"
#include "phrases.h"
#include "token_pool.h"

namespace asr::decoder {

struct SearchOptions {
  // A token is dropped if its cost is more than `beam` above that of the best token of its frame. +infinity
  // keeps all. A smaller beam is faster and may lose the best path.
  float beam;
  int32_t max_active;    // the beam is narrowed in frames where it would keep more tokens than this
  int32_t min_active;    // the beam is widened in frames where it would keep fewer tokens than this
  float acoustic_scale;  // factor on log-probs
  float word_penalty;    // cost added to every arc with an output label
  // In a run of frames whose blank has at least this log-prob, every path passes blank at all frames but the
  // first. The third and later frames need no search then: in a CTC topology, tokens stay on blank.
  // +infinity: no frame is skipped.
  float blank_skip;
  // The lattice holds all paths that the beam has kept and whose total cost is at most `lattice_beam` above
  // that of the best path. Negative: no lattice is kept.
  float lattice_beam;
  // Costs added per frame of a token of the net; tokens beyond the end have none.
  std::vector<float> token_costs;
};

struct Path {
  std::vector<int32_t> labels;        // output labels
  std::vector<int32_t> label_frames;  // the frame at which the path passed each of them
  std::vector<int32_t> alignment;     // (F,) the token of the net at each frame
  double cost = 0;                    // as in the formula above
  bool complete = false;              // the path ends in a final state and covers all frames
};

// The result of a stream before its end.
struct Partial {
  Path path;               // the cheapest so far, final or not
  int32_t num_stable = 0;  // number of its labels that all active paths share: they will not change
  float final_cost = 0;    // cost of the cheapest path in a final state above that of `path`; +infinity: none
};

// The search of one utterance. For one thread at a time; threads share the graph. Init() makes it ready for
// another utterance.
class Search {
 public:
  Search(const Graph& graph, const SearchOptions& options);

  // `phrases` may be null; else it outlives the utterance. Throws std::invalid_argument if there are too
  // many.
  void Init(const Phrases* phrases);
  // log_probs: (num_frames, num_tokens), row-major, natural logs; -infinity is allowed. May be called
  // repeatedly, each time with the next frames. Throws std::invalid_argument for NaN or +infinity, naming the
  // frame; for fewer tokens than the graph's largest input label; for an epsilon cycle of negative cost; and
  // if a dynamic graph would exceed its limit.
  void Advance(const float* log_probs, int64_t num_frames, int64_t num_tokens);
  // The best path so far. If no token is in a final state, this is the best partial path; if no token
  // survived a frame, it is the best path before that frame. In both cases `complete` is false, and the
  // alignment has blank at frames that the path does not cover.
  Path Finalize() const;
  Partial FindPartial() const;
  // All paths within the lattice beam of the path that Finalize returns. Throws std::invalid_argument if no
  // lattice is kept.
  StateLattice FindLattice() const;
  size_t NumBytes() const;  // of memory that it keeps for the next utterance

 private:
  struct Cutoff {
    float now;   // largest cost of an active token at the start of the frame
    float beam;  // largest cost above the best token of the next frame
  };
  static constexpr int kCrowdBits = 12;
  // What an arc costs because of its word.
  enum class WordCosts { kNone, kPenalty, kBoosts };
  // A possible step of a token.
  struct Candidate {
    float cost;  // of the path including this step
    uint32_t arc;
    uint32_t source;  // place of the token that takes the step
  };
  // The tokens with the same graph state and last label.
  struct Rivals {
    int32_t state;
    int32_t last_label;
    int32_t root;  // place of the token that is in no phrase, or -1
    float bound;   // on the cost of the cheapest of them for any continuation, relative to the root
  };
  // The best end of a path: in a final state, if any token is in one.
  struct End {
    int32_t place;
    float cost;
    bool is_final;
  };

  // The last epsilon step that led to a token.
  struct Approach {
    int32_t parent;  // place of the token that it came from
    uint32_t arc;
    uint64_t round;  // of relaxation, counted over all frames
  };

  void RequireUnbroken() const;
  void SearchFrame(const float* log_probs, int64_t num_tokens, bool only_blank);
  void CheckFrame(const float* log_probs, int64_t num_tokens) const;
  void ScoreFrame(const float* log_probs, int64_t num_tokens);
  Cutoff FindCutoff();
  float CostOfRank(size_t rank, float least);
  void DropTies(float cost);
  bool ProcessEmitting(const Cutoff& cutoff, bool only_blank, float* next_cutoff);
  float FirstNextCutoff(const Cutoff& cutoff) const;
  template <bool kImplicit>
  size_t FindCandidatesOf(float cutoff, float next_cutoff);
  template <bool kImplicit, WordCosts kWordCosts>
  size_t FindCandidates(float cutoff, float next_cutoff);
  size_t FindBlanks(float cutoff);
  size_t FindStays(const Token& token, uint32_t source, float next_cutoff, size_t num_candidates);
  void FindNexts(size_t num_candidates);
  void FindContexts(size_t num_candidates);
  void DropDominated();
  void Reach(const Candidate& candidate, int32_t state, int32_t record, int32_t context);
  void ProcessEpsilon(float cutoff);
  void RelaxEpsilon(int32_t place, float cutoff);
  void SettleCosts();
  bool ClosesCycle(int32_t place, const Arc& arc, int32_t next_place, float gain);
  // The cost of an arc without its acoustic cost; advances the context over its word.
  float ArcCost(const Arc& arc, int32_t* context) const {
    const float boost = phrases_ != nullptr && arc.olabel != 0 ? AfterWord(arc.olabel, context) : 0.0f;
    return arc.cost + penalty_[arc.olabel != 0] + boost;
  }
  // The cost of the path of a token and a step over an emitting arc, and the context after it.
  std::pair<float, int32_t> Take(const Token& token, const Arc& arc) const {
    int32_t context = token.context;
    const float cost = token.cost + (acoustic_[arc.ilabel] + ArcCost(arc, &context));
    return {cost, context};
  }
  bool IsImplicit() const { return label_mask_ != 0; }
  int32_t LastLabel(int32_t context) const { return context & label_mask_; }
  int32_t PhraseState(int32_t context) const { return context >> label_bits_; }
  // The context after a step that has no word.
  int32_t AfterLabel(int32_t context, uint32_t arc) const {
    if (!IsImplicit()) return context;
    const int32_t label = InputLabel(arc);
    return (context & ~label_mask_) | (label == kBlankLabel ? 0 : label);
  }
  bool KeepsLattice() const { return options_.lattice_beam >= 0; }
  void FinishLayer(float cutoff);

  float TokenCost(int32_t label) const {
    const size_t token = static_cast<size_t>(label) - 1;
    return token < options_.token_costs.size() ? options_.token_costs[token] : 0.0f;
  }
  auto KeyOf() const {
    return [this](int32_t place) { return StateMap::Key{tokens_[place].state, tokens_[place].context}; };
  }
  // The cost of a word by the boosts; advances the context.
  float AfterWord(int32_t word, int32_t* context) const {
    const Phrases::Step step = phrases_->Take(PhraseState(*context), word);
    *context = step.state << label_bits_ | LastLabel(*context);
    return step.cost;
  }
  // A hash of the state of a token.
  static size_t CrowdOf(int32_t state) {
    return static_cast<uint32_t>(state) * 0x9E3779B9u >> (32 - kCrowdBits);
  }
  float FinalCost(const Token& token, bool anywhere) const;
  End FindEnd() const;
  int32_t FindBest() const;
  Path TracePath(const Token& token) const;
  void SplitBoosts(StateLattice* lattice) const;
  int32_t FindCommonRecord() const;
  int32_t OutputLabel(uint32_t arc) const { return arc & kStay ? 0 : graph_.arcs()[arc].olabel; }
  int32_t InputLabel(uint32_t arc) const {
    return static_cast<int32_t>(arc & kStay ? arc & ~kStay : graph_.arcs()[arc].ilabel);
  }

  const Graph& graph_;
  const SearchOptions options_;
  const float penalty_[2];  // cost added to an arc [without, with] an output label
  const int label_bits_;    // of contexts, for the last label: 0 if the topology is explicit
  const int32_t label_mask_;
  const Phrases* phrases_ = nullptr;
  TokenPool pool_;
  LinkPool links_;                       // of the lattice
  std::vector<Token> tokens_;            // one per state and context
  std::vector<int32_t> records_before_;  // the record of each token of the previous frame
  std::vector<State> states_at_;         // a copy of the state of each token, in the cache
  StateMap places_;                      // state and context -> place in tokens_
  StateMap states_;                      // scratch of DropDominated: state and last label -> place in rivals_
  std::vector<Rivals> rivals_;           // scratch of DropDominated
  std::array<uint8_t, 1 << kCrowdBits> crowds_{};  // scratch of DropDominated: tokens by CrowdOf, at most 2
  std::vector<std::pair<int32_t, int32_t>>
      in_phrase_;      // scratch of DropDominated: places in tokens_, rivals_
  int32_t best_ = 0;   // place of the cheapest token
  double offset_ = 0;  // subtracted from the costs of all tokens
  int64_t num_frames_ = 0;
  int32_t blank_run_ = 0;                 // number of last frames whose blank reached options_.blank_skip
  std::vector<int32_t> searched_frames_;  // frames that were not skipped
  bool is_dead_ = false;                  // no token survived a frame
  bool is_broken_ = true;                 // an exception interrupted a frame; Init is needed

  std::vector<float> acoustic_;        // cost of each input label at this frame, minus the best token's cost
  float best_before_ = 0;              // the best token's cost
  float skipped_cost_ = 0;             // of the frames skipped since the last searched frame
  std::vector<float> costs_;           // scratch of CostOfRank
  std::vector<Candidate> candidates_;  // scratch of ProcessEmitting
  std::vector<int32_t> nexts_;         // scratch of ProcessEmitting: the state after each candidate
  std::vector<int32_t> contexts_;      // scratch of ProcessEmitting: the context after each candidate
  std::vector<uint32_t> with_word_;    // scratch of FindContexts: the candidates that take a word
  std::vector<int32_t> frontier_;      // scratch of ProcessEpsilon: places whose epsilon arcs are pending
  std::vector<int32_t> reached_;       // scratch of ProcessEpsilon: the next frontier
  std::vector<Approach> approaches_;   // scratch of ProcessEpsilon: one per token, some of earlier frames
  uint64_t round_ = 0;                 // of relaxation
  uint64_t first_round_ = 0;           // of this frame: earlier approaches are not of this frame
  bool is_limited_ = false;            // in this frame, epsilon arcs form a cycle that boosts make negative
};

// Adds a token at `state`, the destination of the candidate, or improves the token there. `record` is that of
// its source. Inlined, since the calls alone would take 4 % of the search.
[[gnu::always_inline]] inline void Search::Reach(const Candidate& candidate, int32_t state, int32_t record,
                                                 int32_t context) {
  const auto new_place = static_cast<int32_t>(tokens_.size());
  const int32_t place = places_.FindOrAdd(state, context, new_place, KeyOf());
  if (place == new_place) {
    tokens_.emplace_back(state, context, candidate.cost, pool_.Add(record, candidate.arc));
  } else if (candidate.cost < tokens_[place].cost) {
    tokens_[place].cost = candidate.cost;
    pool_.Replace(tokens_[place].record, record, candidate.arc);
  }
  if (candidate.cost < tokens_[best_].cost) best_ = place;
  if (KeepsLattice()) {
    const float acoustic = acoustic_[InputLabel(candidate.arc)] + best_before_ + skipped_cost_;
    links_.AddEmitting(static_cast<int32_t>(candidate.source), place, candidate.arc, candidate.cost,
                       acoustic);
  }
}

}  // namespace asr::decoder
