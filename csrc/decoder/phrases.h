// Phrase boosting: an automaton over words (Aho and Corasick 1975) that every path of the search follows
// alongside the graph.
//
// A path gains the boost of a phrase at each occurrence of the phrase in its words; occurrences may overlap
// or contain each other. So that a path is not pruned before its phrase is complete, each state has a
// potential: the share of the largest boost ahead that the words so far have earned. Each step gains the
// difference of the potentials, and the end of the utterance takes the last potential back. The total over a
// path is that of the rule above, whatever the potentials (potential-based shaping: Ng, Harada and Russell
// 1999).
//
// The search keeps paths in different states apart. So that there are few states, a path that completes a
// phrase which no other phrase continues is in the state of a shorter suffix at once.
#pragma once

#include <cstdint>
#include <vector>

#include "reserved.h"

namespace asr::decoder {

// Immutable; shared by threads.
class Phrases {
 public:
  struct Phrase {
    std::vector<int32_t> words;  // output labels of the graph
    float boost;                 // subtracted from the cost; a negative boost makes the phrase less likely
  };
  struct Step {
    int32_t state;
    float cost;
  };
  static constexpr int32_t kRoot = 0;

  // Labels of words are 1 to max_label. Throws std::invalid_argument for a phrase without words or with a
  // label out of range. If a phrase is given twice, the last boost applies.
  Phrases(const std::vector<Phrase>& phrases, int32_t max_label);

  // The next state after `word`, and the cost of the step. A state is the longest suffix of the path's words
  // that a phrase continues.
  Step Take(int32_t state, int32_t word) const {
    const float potential = states_[state].potential;
    for (; state != kRoot; state = states_[state].failure)
      if ((states_[state].filter & FilterBit(word)) != 0)
        if (const Edge* edge = FindEdge(state, word)) return {edge->next, potential - edge->gain};
    const RootEdge edge = root_edges_.data()[word];
    return {edge.next, potential - edge.gain};
  }
  // Fetches the step from the root by `word`, which most steps take, into the cache. The word may be 0: none.
  [[gnu::always_inline]] void Prefetch(int32_t word) const { __builtin_prefetch(root_edges_.data() + word); }
  // The cost of ending the utterance in `state`.
  float FinalCost(int32_t state) const { return states_[state].potential; }
  // A lower bound on the cost of a step from `state`.
  float MinStepCost(int32_t state) const { return states_[state].min_step; }
  // Bounds on the difference in cost between `state` and the root over any continuation, its end included.
  float MinFutureCost(int32_t state) const { return states_[state].min_future; }
  float MaxFutureCost(int32_t state) const { return states_[state].max_future; }
  int32_t max_label() const { return max_label_; }
  int32_t num_states() const { return static_cast<int32_t>(states_.size()) - 1; }

 private:
  struct State {
    float potential;  // 0 at the root
    float min_step;   // as MinStepCost
    float min_future;
    float max_future;
    int32_t failure;      // the longest proper suffix that is a state
    uint32_t edge_begin;  // its edges end where those of the next state begin
    uint64_t filter;      // the FilterBits of all words of its edges
  };
  struct Edge {
    int32_t word;
    int32_t next;
    float gain;  // the boosts of all phrases that end with this word, and the potential of `next`
  };
  // The edge of the root by a word; the root itself, without a gain, for a word that begins no phrase.
  struct RootEdge {
    float gain;
    int32_t next;
  };

  static uint64_t FilterBit(int32_t word) {
    return uint64_t{1} << (static_cast<uint32_t>(word) * 0x9E3779B9u >> 26);
  }
  const Edge* FindEdge(int32_t state, int32_t word) const;

  const int32_t max_label_;
  std::vector<State> states_;      // and one that ends the edges of the last
  std::vector<Edge> edges_;        // sorted by state, then by word
  Reserved<RootEdge> root_edges_;  // one per label; memory is used only around words that begin a phrase
};

}  // namespace asr::decoder
