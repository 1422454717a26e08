#include "bias.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace asr {

Bias::Bias(const std::vector<Phrase>& phrases) : nodes_(1), edges_(1) {
  for (const Phrase& phrase : phrases) AddPhrase(phrase);
  LinkFailures();
  float highest = 0, lowest = 0, most = 0;
  for (const Node& node : nodes_) {
    highest = std::max(highest, node.potential);
    lowest = std::min(lowest, node.potential);
    most = std::max(most, node.boost);
  }
  max_gain_ = highest - lowest + most;
}

void Bias::AddPhrase(const Phrase& phrase) {
  if (phrase.words.empty()) throw std::invalid_argument("a phrase has no words");
  const auto length = static_cast<int32_t>(phrase.words.size());
  int32_t node = kRoot;
  for (const int32_t word : phrase.words) {
    if (word < 1) throw std::invalid_argument("a phrase has the label " + std::to_string(word));
    if (is_used_.size() <= static_cast<size_t>(word)) is_used_.resize(word + 1);
    is_used_[word] = true;
    const auto [child, is_new] = children_.try_emplace(Key(node, word), num_states());
    const int32_t depth = nodes_[node].depth + 1;
    node = child->second;
    if (is_new) {
      edges_.push_back(child->first);
      nodes_.push_back({kRoot, depth, 0, 0});
    }
    // Words of a phrase earn equal shares; its last word earns the boost itself.
    if (depth < length) {
      const float share = phrase.boost * static_cast<float>(depth) / static_cast<float>(length);
      nodes_[node].potential = std::max(nodes_[node].potential, share);
    }
  }
  nodes_[node].boost += phrase.boost;
}

// By depth, as a failure is shallower than its node.
void Bias::LinkFailures() {
  std::vector<int32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](int32_t a, int32_t b) { return nodes_[a].depth < nodes_[b].depth; });
  for (const int32_t n : order) {
    Node& node = nodes_[n];
    if (node.depth < 2) continue;
    const auto parent = static_cast<int32_t>(edges_[n] >> 32);
    const auto word = static_cast<int32_t>(edges_[n] & 0xFFFFFFFFu);
    int32_t end = nodes_[parent].failure;
    while (end != kRoot && FindChild(end, word) < 0) end = nodes_[end].failure;
    node.failure = std::max(kRoot, FindChild(end, word));
    node.boost += nodes_[node.failure].boost;
  }
}

int32_t Bias::FindChild(int32_t state, int32_t word) const {
  const auto found = children_.find(Key(state, word));
  return found == children_.end() ? -1 : found->second;
}

Bias::Step Bias::Take(int32_t state, int32_t word) const {
  const float potential = nodes_[state].potential;
  if (static_cast<size_t>(word) >= is_used_.size() || !is_used_[word]) return {kRoot, potential};
  int32_t child;
  while ((child = FindChild(state, word)) < 0 && state != kRoot) state = nodes_[state].failure;
  if (child < 0) return {kRoot, potential};
  return {child, potential - nodes_[child].potential - nodes_[child].boost};
}

}  // namespace asr
