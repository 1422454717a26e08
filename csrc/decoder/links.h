// What a search remembers for its lattice: for each frame the costs of its tokens, and every step that led to
// them. A node is a token of a frame; nodes are numbered through all frames, a layer each.
//
// The memory of a long utterance is bounded: when the pool is full, links go that are on no path within the
// lattice beam of any living token. As the pool then grows to twice what stayed, that costs O(1) a link.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace asr {

struct Link {
  uint32_t from;
  uint32_t to;
  uint32_t arc;    // as in Record
  float cost;      // of the cheapest path to `to` through this link, relative as token costs are
  float acoustic;  // of it the cost of its frame; 0 for an epsilon link
};

struct Layer {
  uint32_t node_begin;
  uint32_t link_begin;     // links into this layer: emitting ones from the one before, then epsilon ones
  uint32_t epsilon_begin;  // the first of those, which lead from the layer to itself
  double offset;           // what was taken off the costs of this layer
};

class LinkPool {
 public:
  void Clear();

  // A layer is made in this order: Begin, Add for its emitting links, BeginEpsilon, Add for its epsilon
  // links, and AddNode for each of its nodes. Places are those of tokens in their frame.
  void Begin(double offset);
  void AddEmitting(int32_t from, int32_t to, uint32_t arc, float cost, float acoustic) {
    links_.push_back({layers_[layers_.size() - 2].node_begin + static_cast<uint32_t>(from),
                      layers_.back().node_begin + static_cast<uint32_t>(to), arc, cost, acoustic});
  }
  void BeginEpsilon() { layers_.back().epsilon_begin = static_cast<uint32_t>(links_.size()); }
  void AddEpsilon(int32_t from, int32_t to, uint32_t arc, float cost) {
    const uint32_t begin = layers_.back().node_begin;
    links_.push_back(
        {begin + static_cast<uint32_t>(from), begin + static_cast<uint32_t>(to), arc, cost, 0.0f});
  }
  void AddNode(float cost) { costs_.push_back(cost); }

  bool IsFull() const { return links_.size() >= limit_; }
  // Drops links and nodes on no path within `beam`. `extra`: what the best path through each node of the last
  // layer costs more than the best of all; infinity drops the node. Nodes of the last layer keep their places
  // when none is dropped.
  void Prune(const std::vector<float>& extra, float beam);
  // As Prune with all of the last layer alive. Where too much would stay, the beam shrinks for good.
  void CollectGarbage(float beam);
  // No path within it has been dropped.
  float beam() const { return beam_; }

  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<Link>& links() const { return links_; }
  const std::vector<float>& costs() const { return costs_; }
  // After Prune: the new number of each node that was there before; of those dropped, no number.
  const std::vector<uint32_t>& moved() const { return moved_; }
  uint32_t LinkEnd(size_t layer) const {
    return layer + 1 < layers_.size() ? layers_[layer + 1].link_begin : static_cast<uint32_t>(links_.size());
  }
  uint32_t NodeEnd(size_t layer) const {
    return layer + 1 < layers_.size() ? layers_[layer + 1].node_begin : static_cast<uint32_t>(costs_.size());
  }

 private:
  static constexpr size_t kLeastLimit = size_t{1} << 16;  // links: 1.3 MB
  static constexpr size_t kMostLinks = size_t{1} << 23;   // 170 MB

  // What a path loses by taking this link to its node. Costs of epsilon links are exact but for rounding.
  float Slack(const Link& link) const { return std::max(0.0f, link.cost - costs_[link.to]); }
  void FindExtras(const std::vector<float>& last, float beam);
  void DropDear(float beam);

  std::vector<Layer> layers_;
  std::vector<Link> links_;
  std::vector<float> costs_;     // of each node
  std::vector<float> extras_;    // scratch of Prune: of each node
  std::vector<uint32_t> moved_;  // as moved()
  size_t limit_ = kLeastLimit;
  float beam_ = std::numeric_limits<float>::infinity();
};

}  // namespace asr
