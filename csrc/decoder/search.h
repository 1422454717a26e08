// Token-passing Viterbi beam search through a decoding graph.
//
// Five verbs: Init puts one token on the start state; for each frame FindCutoff says which tokens live on,
// ProcessEmitting moves them over emitting arcs, ProcessEpsilon spreads them over epsilon arcs; Finalise
// traces the best one back.
//
// Tokens meet, and the cheapest stays, where their futures are the same: at one state of the graph and in one
// context. The context is the phrase state, when phrases are boosted; and with an implicit topology, where
// the graph holds no CTC topology, the last frame's label, for the search itself then stays on blank or
// repeats that label, and takes an arc of the same label only after a blank: context = phrase state * stride
// + last label.
//
// Invariants:
//
// - Costs in tokens are relative: at the start of each frame the best is 0 and `offset_` holds what was taken
//   off, so that floats stay exact however long the utterance.
// - Between frames every state reachable by epsilon arcs within the cutoff has its cheapest token.
// - An epsilon arc must lower a token's cost by more than rounding to count, so cycles of zero cost come to
//   rest; a cycle of negative cost is met in as many rounds as there are tokens, and refused.
// - Ties go to the token that came first, so results are the same on every run.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "graph.h"
#include "lattice.h"
#include "links.h"
#include "phrases.h"
#include "token_pool.h"

namespace asr {

struct SearchOptions {
  float beam;            // cost above the best at which a token dies; +infinity keeps all
  int32_t max_active;    // tokens kept a frame at most
  int32_t min_active;    // where the beam leaves fewer tokens, it is widened
  float acoustic_scale;  // factor on log-probs
  float word_penalty;    // cost added to every arc with an output label
  // Of a run of frames whose blank has at least this log-prob only the first is searched; the others are
  // passed over as blank. +infinity: none.
  float blank_skip;
  float lattice_beam;  // paths so much dearer than the best stay in the lattice; negative: no lattice is kept
  std::vector<float> token_costs;  // added to each frame of a token of the net; all tokens, or those first
};

struct Path {
  std::vector<int32_t> labels;        // output labels
  std::vector<int32_t> label_frames;  // frame at which each was passed
  std::vector<int32_t> alignment;     // (F,) token of the net at each frame
  double cost = 0;                    // acoustic + graph + penalties + boosts + final
  bool complete = false;              // the path ends in a final state and covers all frames
};

// What a stream knows before its end.
struct Partial {
  Path path;               // the cheapest so far, final or not
  int32_t num_stable = 0;  // so many of its labels stand on every living path and will not change
  float final_cost = 0;    // what the cheapest path on a final state costs more; +infinity: none is there
};

// One utterance in progress. Not shared between threads; the graph is. Can be used again after another
// Init().
class Search {
 public:
  Search(const Graph& graph, const SearchOptions& options);

  // `phrases` may be null; else it outlives the utterance. Throws std::invalid_argument when it is too large.
  void Init(const Phrases* phrases);
  // log_probs: (num_frames, num_tokens) row-major, natural logs, any -infinity. May be called again with the
  // frames that follow. Throws std::invalid_argument on NaN or +infinity, naming the frame; on fewer tokens
  // than the graph's input labels; on an epsilon cycle of negative cost; and where a dynamic graph would
  // outgrow its limit.
  void Advance(const float* log_probs, int64_t num_frames, int64_t num_tokens);
  // The best path so far. When no token stands on a final state it is the best partial one, and when all
  // tokens died the best one before that; then `complete` is false and frames it does not cover hold blank in
  // the alignment.
  Path Finalise() const;
  Partial FindPartial() const;
  // All paths within the lattice beam of the best, which Finalise gives. Throws std::invalid_argument when no
  // lattice is kept.
  StateLattice FindLattice() const;

 private:
  // What a token may cost: at the frame's start, and above the best of the next frame.
  struct Cutoff {
    float now;
    float beam;
  };
  // A step that a token may take.
  struct Candidate {
    float cost;  // of the path with this step
    uint32_t arc;
    int32_t source;  // place of the token before it
  };
  // The tokens at one state with one last label: the place of the one in no phrase, or -1, and the least that
  // the cheapest will have cost, whatever the phrases bring.
  struct Rivals {
    int32_t last_label;
    int32_t root;
    float most;
  };
  // Where paths end: at a final state if any does.
  struct End {
    int32_t place;  // of the best
    float cost;
    bool is_final;
  };

  void RequireWhole() const;
  void SearchFrame(const float* log_probs, int64_t num_tokens);
  void CheckFrame(const float* log_probs, int64_t num_tokens) const;
  void ScoreFrame(const float* log_probs, int64_t num_tokens);
  Cutoff FindCutoff();
  float CostOfRank(size_t rank);
  bool ProcessEmitting(const Cutoff& cutoff, float* next_cutoff);
  float FirstNextCutoff(const Cutoff& cutoff) const;
  template <bool kImplicit, bool kPhrases>
  size_t FindCandidates(float cutoff, float next_cutoff);
  size_t FindStays(const Token& token, int32_t source, float next_cutoff, size_t num_candidates);
  void AddBoosts(size_t num_candidates);
  int32_t ContextAfter(const Token& source, const Candidate& candidate) const;
  void DropHopeless();
  void Reach(const Candidate& candidate);
  void ProcessEpsilon(float cutoff);
  void RelaxEpsilon(int32_t place, float cutoff);
  // What an arc costs but for its frame; moves the context on over its word.
  float ArcCost(const Arc& arc, int32_t* context) const {
    const float boost = phrases_ != nullptr && arc.olabel != 0 ? AfterWord(arc.olabel, context) : 0.0f;
    return arc.cost + penalty_[arc.olabel != 0] + boost;
  }
  bool IsImplicit() const { return stride_ > 1; }
  bool HasContexts() const { return stride_ > 1 || phrases_ != nullptr; }
  bool KeepsLattice() const { return options_.lattice_beam >= 0; }
  void FinishLayer(float cutoff);

  float TokenCost(int32_t label) const {
    const size_t token = static_cast<size_t>(label) - 1;
    return token < options_.token_costs.size() ? options_.token_costs[token] : 0.0f;
  }
  auto IsInContext(int32_t context) const {
    return [this, context](int32_t place) { return tokens_[place].context == context; };
  }
  float AfterWord(int32_t word, int32_t* context) const;
  float FinalCost(const Token& token, bool anywhere) const;
  End FindEnd() const;
  Path TracePath(const Token& token) const;
  int32_t FindCommonRecord() const;
  int32_t OutputLabel(uint32_t arc) const { return arc & kStay ? 0 : graph_.arcs()[arc].olabel; }
  int32_t InputLabel(uint32_t arc) const {
    return static_cast<int32_t>(arc & kStay ? arc & ~kStay : graph_.arcs()[arc].ilabel);
  }

  const Graph& graph_;
  const SearchOptions options_;
  const float penalty_[2];  // added to an arc without, with an output label
  const int32_t stride_;    // of contexts: more than any label with an implicit topology, else 1
  const Phrases* phrases_ = nullptr;
  TokenPool pool_;
  LinkPool links_;                       // of the lattice
  std::vector<Token> tokens_;            // one a state and context
  std::vector<Token> before_;            // those of the frame before, where there are contexts
  std::vector<int32_t> records_before_;  // of each token of the frame before
  StateMap places_;                      // state and context -> place in tokens_
  StateMap states_;                      // scratch of DropHopeless: state and last label -> place in rivals_
  std::vector<Rivals> rivals_;           // scratch of DropHopeless
  std::vector<std::pair<int32_t, int32_t>>
      in_phrase_;      // scratch of DropHopeless: places in tokens_ and rivals_
  int32_t best_ = 0;   // place of the cheapest token
  double offset_ = 0;  // what was taken off the costs of all tokens
  int64_t num_frames_ = 0;
  bool was_blank_ = false;                // the last frame's blank was so probable
  std::vector<int32_t> searched_frames_;  // those not passed over
  bool is_dead_ = false;                  // no token survived a frame
  bool is_broken_ = true;                 // an exception left it between two frames; only Init helps

  std::vector<float> acoustic_;        // cost of each input label at this frame, less the best token's cost
  float best_before_ = 0;              // that cost
  float skipped_cost_ = 0;             // of the frames passed over since the last that was searched
  std::vector<float> costs_;           // scratch of CostOfRank
  std::vector<Candidate> candidates_;  // scratch of ProcessEmitting
  std::vector<int32_t> frontier_;      // scratch of ProcessEpsilon: places whose epsilon arcs wait
  std::vector<int32_t> reached_;       // scratch of ProcessEpsilon: the next frontier
};

}  // namespace asr
