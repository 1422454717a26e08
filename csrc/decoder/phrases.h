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
#include <map>
#include <utility>
#include <vector>

namespace asr {

// Immutable; shared by threads.
class Phrases {
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

  // Labels of words are 1 to max_label. Throws std::invalid_argument for a phrase without words or with
  // another label. Of a phrase given twice the last boost holds.
  Phrases(const std::vector<Phrase>& phrases, int32_t max_label);

  // Where a word leads from `state`, the longest end of the path's words that begins a phrase, at what cost.
  Step Take(int32_t state, int32_t word) const {
    return is_used_[word] != 0 ? TakeUsed(state, word) : Step{kRoot, nodes_[state].potential};
  }
  // What the end of the utterance costs at `state`.
  float FinalCost(int32_t state) const { return nodes_[state].potential; }
  // No word costs less from `state`.
  float LeastStep(int32_t state) const { return nodes_[state].potential - nodes_[state].next; }
  // Bounds on what any words that follow cost more from `state` than from the root, its end included.
  float LeastFuture(int32_t state) const { return nodes_[state].potential - nodes_[state].most; }
  float MostFuture(int32_t state) const { return nodes_[state].potential - nodes_[state].least; }
  int32_t max_label() const { return static_cast<int32_t>(is_used_.size()) - 1; }
  int32_t num_states() const { return static_cast<int32_t>(nodes_.size()); }

 private:
  struct Node {
    int32_t parent = kRoot;
    int32_t word = 0;         // that leads here
    int32_t failure = kRoot;  // the node of the longest proper end that begins a phrase
    int32_t depth = 0;
    float boost = 0;      // of the phrases that end here, the shorter ones along the failures included
    float potential = 0;  // 0 at the root
    float next = 0;       // the most that one word can reach in potential and boosts
    float most = 0;       // bounds on the sum of boosts that words which follow can earn
    float least = 0;      // with words before: of phrases begun here and along the failures
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

  std::vector<Node> nodes_;          // a node is older than its children
  std::vector<Edge> edges_;          // by node, then by word
  std::vector<int32_t> edge_begin_;  // of each node, and of the end
  std::vector<int32_t> root_child_;  // of each label; -1 for none
  std::vector<uint8_t> is_used_;     // of each label: by some phrase
};

}  // namespace asr
