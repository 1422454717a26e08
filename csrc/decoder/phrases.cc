#include "phrases.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace asr::decoder {

Phrases::Phrases(const std::vector<Phrase>& phrases, int32_t max_label)
    : nodes_(1), root_child_(size_t(max_label) + 1, -1), is_used_(size_t(max_label) + 1) {
  Children children;
  for (const Phrase& phrase : phrases) AddPhrase(phrase, &children);
  edge_begin_.assign(nodes_.size() + 1, 0);
  for (const auto& [edge, child] : children) {
    const auto [node, word] = edge;
    edges_.push_back({word, child});
    ++edge_begin_[node + 1];
    if (node == kRoot) root_child_[word] = child;
  }
  std::partial_sum(edge_begin_.begin(), edge_begin_.end(), edge_begin_.begin());
  FindBounds();
  LinkFailures();
}

void Phrases::AddPhrase(const Phrase& phrase, Children* children) {
  if (phrase.words.empty()) throw std::invalid_argument("a phrase has no words");
  const auto length = static_cast<int32_t>(phrase.words.size());
  int32_t node = kRoot;
  for (const int32_t word : phrase.words) {
    if (word < 1 || static_cast<size_t>(word) >= is_used_.size())
      throw std::invalid_argument("a phrase has the label " + std::to_string(word) +
                                  ", which is not a word of the graph");
    is_used_[word] = 1;
    const auto [child, is_new] = children->try_emplace({node, word}, num_states());
    if (is_new) {
      Node fresh;
      fresh.parent = node;
      fresh.word = word;
      fresh.depth = nodes_[node].depth + 1;
      nodes_.push_back(fresh);
    }
    node = child->second;
    // Each word of a phrase earns an equal share; at the last word the boost itself applies.
    if (const int32_t depth = nodes_[node].depth; depth < length) {
      const float share = phrase.boost * static_cast<float>(depth) / static_cast<float>(length);
      nodes_[node].potential = std::max(nodes_[node].potential, share);
    }
  }
  nodes_[node].boost = phrase.boost;
}

// Bounds over the subtree of each node, from the leaves up. A node's boost is still that of its own phrase.
void Phrases::FindBounds() {
  for (size_t n = nodes_.size(); n-- > 1;) {
    Node& parent = nodes_[nodes_[n].parent];
    parent.max_gain = std::max(parent.max_gain, nodes_[n].boost + nodes_[n].max_gain);
    parent.min_gain = std::min(parent.min_gain, nodes_[n].boost + nodes_[n].min_gain);
  }
  nodes_[kRoot].max_gain = nodes_[kRoot].min_gain = 0;  // bounds are relative to the root
}

// In order of depth, because the failure link of a node leads to a shallower node.
void Phrases::LinkFailures() {
  std::vector<int32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](int32_t a, int32_t b) { return nodes_[a].depth < nodes_[b].depth; });
  for (const int32_t n : order) {
    Node& node = nodes_[n];
    if (node.depth < 2) continue;
    int32_t end = nodes_[node.parent].failure;
    while (end != kRoot && FindChild(end, node.word) < 0) end = nodes_[end].failure;
    node.failure = std::max(kRoot, FindChild(end, node.word));
    node.boost += nodes_[node.failure].boost;
    node.max_gain += nodes_[node.failure].max_gain;
    node.min_gain += nodes_[node.failure].min_gain;
  }
  for (const int32_t n : order) {
    Node& node = nodes_[n];
    node.best_step = n == kRoot ? 0 : nodes_[node.failure].best_step;
    for (int32_t e = edge_begin_[n]; e < edge_begin_[n + 1]; ++e) {
      const Node& child = nodes_[edges_[e].child];
      node.best_step = std::max(node.best_step, child.potential + child.boost);
    }
  }
}

int32_t Phrases::FindChild(int32_t state, int32_t word) const {
  if (state == kRoot) return root_child_[word];
  const auto begin = edges_.begin() + edge_begin_[state], end = edges_.begin() + edge_begin_[state + 1];
  const auto edge = std::lower_bound(begin, end, word, [](const Edge& e, int32_t w) { return e.word < w; });
  return edge != end && edge->word == word ? edge->child : -1;
}

Phrases::Step Phrases::TakeUsed(int32_t state, int32_t word) const {
  const float potential = nodes_[state].potential;
  int32_t child;
  while ((child = FindChild(state, word)) < 0 && state != kRoot) state = nodes_[state].failure;
  if (child < 0) return {kRoot, potential};
  return {child, potential - nodes_[child].potential - nodes_[child].boost};
}

}  // namespace asr::decoder
