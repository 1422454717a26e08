// Phrase boosting: an automaton over words (Aho and Corasick 1975) that every path of the search follows
// alongside the graph.
//
// A path gains the boost of a phrase at each occurrence of the phrase in its words; occurrences may overlap
// or contain each other. So that a path is not pruned before its phrase is complete, each state has a
// potential: the share of the largest boost ahead that the words so far have earned. Each step gains the
// difference of the potentials, and the end of the utterance takes the last potential back. The total over a
// path is that of the rule above, whatever the potentials (potential-based shaping: Ng, Harada and Russell
// 1999).
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

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
  // that is a prefix of a phrase.
  Step Take(int32_t state, int32_t word) const {
    return is_used_[word] != 0 ? TakeUsed(state, word) : Step{kRoot, nodes_[state].potential};
  }
  // The cost of ending the utterance in `state`.
  float FinalCost(int32_t state) const { return nodes_[state].potential; }
  // A lower bound on the cost of a step from `state`.
  float MinStepCost(int32_t state) const { return nodes_[state].potential - nodes_[state].best_step; }
  // Bounds on the difference in cost between `state` and the root over any continuation, its end included.
  float MinFutureCost(int32_t state) const { return nodes_[state].potential - nodes_[state].max_gain; }
  float MaxFutureCost(int32_t state) const { return nodes_[state].potential - nodes_[state].min_gain; }
  int32_t max_label() const { return static_cast<int32_t>(is_used_.size()) - 1; }
  int32_t num_states() const { return static_cast<int32_t>(nodes_.size()); }

 private:
  struct Node {
    int32_t parent = kRoot;
    int32_t word = 0;         // the word of the step from the parent
    int32_t failure = kRoot;  // the node of the longest proper suffix that is a prefix of a phrase
    int32_t depth = 0;
    float boost = 0;      // of all phrases that end here, including shorter ones along the failure links
    float potential = 0;  // 0 at the root
    float best_step = 0;  // the largest potential plus boost that one word can reach
    float max_gain = 0;   // bounds on the sum of boosts that the following words can complete, of phrases
    float min_gain = 0;   // begun at this node or along its failure links
  };
  struct Edge {
    int32_t word;
    int32_t child;
  };
  using Children = std::map<std::pair<int32_t, int32_t>, int32_t>;  // (node, word) -> node

  Step TakeUsed(int32_t state, int32_t word) const;
  int32_t FindChild(int32_t state, int32_t word) const;
  void AddPhrase(const Phrase& phrase, Children* children);
  void FindBounds();
  void LinkFailures();

  std::vector<Node> nodes_;          // a parent comes before its children
  std::vector<Edge> edges_;          // sorted by node, then by word
  std::vector<int32_t> edge_begin_;  // one per node, and the end
  std::vector<int32_t> root_child_;  // one per label; -1: none
  std::vector<uint8_t> is_used_;     // one per label: whether a phrase has it
};

}  // namespace asr::decoder
