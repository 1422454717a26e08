#include "phrases.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "number_map.h"

namespace asr::decoder {
namespace {

constexpr int32_t kRoot = Phrases::kRoot;

// The phrases as a tree. A node stands for the words on the way to it.
class Trie {
 public:
  struct Node {
    int32_t parent = kRoot;
    int32_t word = 0;         // the word of the step from the parent
    int32_t failure = kRoot;  // the node of the longest proper suffix that is a prefix of a phrase
    int32_t open = kRoot;     // the first node along the failure links, from this one on, that has children
    int32_t depth = 0;
    bool has_children = false;
    float boost = 0;      // of all phrases that end here, including shorter ones along the failure links
    float potential = 0;  // 0 at the root
    float best_step = 0;  // the largest gain that one word can reach
    float max_gain = 0;   // bounds on the sum of boosts that the following words can complete, of phrases
    float min_gain = 0;   // begun at this node or along its failure links
  };

  Trie(const std::vector<Phrases::Phrase>& phrases, int32_t max_label) : nodes_(1) {
    for (const Phrases::Phrase& phrase : phrases) Add(phrase, max_label);
    FindBounds();
    LinkFailures();
  }

  const std::vector<Node>& nodes() const { return nodes_; }
  // What a step to the node gains.
  float Gain(const Node& node) const { return node.boost + nodes_[node.open].potential; }

 private:
  static uint64_t Key(int32_t node, int32_t word) { return uint64_t(node) << 32 | uint32_t(word); }
  int32_t FindChild(int32_t node, int32_t word) const {
    const uint32_t* child = children_.Find(Key(node, word));
    return child == nullptr ? -1 : static_cast<int32_t>(*child);
  }
  int32_t AddChild(int32_t parent, int32_t word);
  void Add(const Phrases::Phrase& phrase, int32_t max_label);
  void FindBounds();
  void LinkFailures();

  std::vector<Node> nodes_;  // a parent comes before its children
  NumberMap children_;       // by node and word
};

int32_t Trie::AddChild(int32_t parent, int32_t word) {
  const auto child = static_cast<int32_t>(nodes_.size());
  children_.Add(Key(parent, word), child);
  nodes_[parent].has_children = true;
  Node fresh;
  fresh.parent = parent;
  fresh.word = word;
  fresh.depth = nodes_[parent].depth + 1;
  nodes_.push_back(fresh);
  return child;
}

void Trie::Add(const Phrases::Phrase& phrase, int32_t max_label) {
  if (phrase.words.empty()) throw std::invalid_argument("a phrase has no words");
  const auto length = static_cast<int32_t>(phrase.words.size());
  int32_t node = kRoot;
  for (const int32_t word : phrase.words) {
    if (word < 1 || word > max_label)
      throw std::invalid_argument("a phrase has the label " + std::to_string(word) +
                                  ", which is not a word of the graph");
    const int32_t child = FindChild(node, word);
    node = child < 0 ? AddChild(node, word) : child;
    // Each word of a phrase earns an equal share; at the last word the boost itself applies.
    if (const int32_t depth = nodes_[node].depth; depth < length) {
      const float share = phrase.boost * static_cast<float>(depth) / static_cast<float>(length);
      nodes_[node].potential = std::max(nodes_[node].potential, share);
    }
  }
  nodes_[node].boost = phrase.boost;
}

// Bounds over the subtree of each node, from the leaves up. A node's boost is still that of its own phrase.
void Trie::FindBounds() {
  for (size_t n = nodes_.size(); n-- > 1;) {
    Node& parent = nodes_[nodes_[n].parent];
    parent.max_gain = std::max(parent.max_gain, nodes_[n].boost + nodes_[n].max_gain);
    parent.min_gain = std::min(parent.min_gain, nodes_[n].boost + nodes_[n].min_gain);
  }
  nodes_[kRoot].max_gain = nodes_[kRoot].min_gain = 0;  // bounds are relative to the root
}

// In order of depth, because the failure link of a node leads to a shallower node.
void Trie::LinkFailures() {
  std::vector<int32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](int32_t a, int32_t b) { return nodes_[a].depth < nodes_[b].depth; });
  for (const int32_t n : order) {
    Node& node = nodes_[n];
    if (node.depth > 1) {
      int32_t end = nodes_[node.parent].failure, child;
      while ((child = FindChild(end, node.word)) < 0 && end != kRoot) end = nodes_[end].failure;
      node.failure = std::max(kRoot, child);
    }
    const Node& failure = nodes_[node.failure];
    node.open = node.has_children || n == kRoot ? n : failure.open;
    if (n == kRoot) continue;
    node.boost += failure.boost;
    node.max_gain += failure.max_gain;
    node.min_gain += failure.min_gain;
    Node& parent = nodes_[node.parent];
    parent.best_step = std::max(parent.best_step, Gain(node));
  }
  for (const int32_t n : order)
    nodes_[n].best_step = std::max(nodes_[n].best_step, nodes_[nodes_[n].failure].best_step);
}

}  // namespace

Phrases::Phrases(const std::vector<Phrase>& phrases, int32_t max_label)
    : max_label_(max_label), root_edges_(size_t(max_label) + 1) {
  const Trie trie(phrases, max_label);
  const std::vector<Trie::Node>& nodes = trie.nodes();
  std::vector<int32_t> state_of(nodes.size(), -1);
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].open != static_cast<int32_t>(n)) continue;
    state_of[n] = static_cast<int32_t>(states_.size());
    const auto [potential, gain] = std::pair(nodes[n].potential, nodes[n].best_step);
    states_.push_back({potential, potential - gain, potential - nodes[n].max_gain,
                       potential - nodes[n].min_gain, kRoot, 0, 0});
  }
  states_.emplace_back();

  std::vector<int32_t> steps(nodes.size() - 1);  // all nodes but the root, by parent and word
  std::iota(steps.begin(), steps.end(), 1);
  std::sort(steps.begin(), steps.end(), [&](int32_t a, int32_t b) {
    return std::pair(nodes[a].parent, nodes[a].word) < std::pair(nodes[b].parent, nodes[b].word);
  });
  for (const int32_t n : steps) {
    const Trie::Node& node = nodes[n];
    const int32_t from = state_of[node.parent];
    if (from == kRoot) root_edges_[node.word] = {trie.Gain(node), state_of[node.open]};
    states_[from].filter |= FilterBit(node.word);
    ++states_[from + 1].edge_begin;
    edges_.push_back({node.word, state_of[node.open], trie.Gain(node)});
    if (node.open == n) states_[state_of[n]].failure = state_of[nodes[node.failure].open];
  }
  for (size_t s = 1; s < states_.size(); ++s) states_[s].edge_begin += states_[s - 1].edge_begin;
}

// Binary search without branches that would be hard to predict.
const Phrases::Edge* Phrases::FindEdge(int32_t state, int32_t word) const {
  const Edge* edge = edges_.data() + states_[state].edge_begin;
  for (size_t size = states_[state + 1].edge_begin - states_[state].edge_begin; size > 1;) {
    const size_t half = size / 2;
    edge += edge[half].word <= word ? half : 0;
    size -= half;
  }
  return edge->word == word ? edge : nullptr;
}

}  // namespace asr::decoder
