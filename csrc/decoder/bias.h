// Phrases that an utterance is likelier to hold: an automaton of Aho and Corasick (1975) over words, walked
// by every path of the search beside the graph.
//
// The rule: a path gains the boost of a phrase at each place where the phrase stands in its words,
// overlapping or one within the other. So that a promising path is not dropped before its phrase is complete,
// each state has a potential: the share of the best boost ahead that its words so far have earned. A step
// gains the difference of potentials, and the end of the utterance takes the last one back; the sum over a
// path is the rule, whatever the potentials (Ng, Harada and Russell 1999).
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace asr {

// Immutable; shared by threads.
class Bias {
 public:
  struct Phrase {
    std::vector<int32_t> words;  // output labels of the graph
    float boost;                 // gain in cost units; negative ones suppress
  };
  struct Step {
    int32_t state;
    float cost;
  };
  static constexpr int32_t kRoot = 0;

  // Throws std::invalid_argument for a phrase without words or with a label below 1.
  explicit Bias(const std::vector<Phrase>& phrases);

  // Where a word leads from `state`, the longest end of the path's words that begins a phrase, at what cost.
  Step Take(int32_t state, int32_t word) const;
  // What the end of the utterance costs at `state`.
  float FinalCost(int32_t state) const { return nodes_[state].potential; }
  // No step gains more than this.
  float max_gain() const { return max_gain_; }
  int32_t num_states() const { return static_cast<int32_t>(nodes_.size()); }

 private:
  struct Node {
    int32_t failure = kRoot;  // the node of the longest proper end that begins a phrase
    int32_t depth = 0;
    float boost = 0;      // of the phrases that end here, the shorter ones along the failures included
    float potential = 0;  // 0 at the root
  };
  static uint64_t Key(int32_t state, int32_t word) {
    return static_cast<uint64_t>(state) << 32 | static_cast<uint32_t>(word);
  }
  int32_t FindChild(int32_t state, int32_t word) const;
  void AddPhrase(const Phrase& phrase);
  void LinkFailures();

  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, int32_t>
      children_;                 // (node, word) -> node; nodes are older than their children
  std::vector<uint64_t> edges_;  // the keys of children_, in the order of their nodes
  std::vector<bool> is_used_;    // of a word: some phrase has it
  float max_gain_ = 0;
};

}  // namespace asr
