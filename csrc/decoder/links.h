// The history that a search stores for its lattice: the costs of the tokens of each frame, and all steps
// between them (links). A node is a token of a frame, a layer the nodes of one frame; nodes are numbered
// consecutively over all layers.
//
// Memory is bounded for long utterances: when the pool is full, links on no path within the lattice beam of
// an active token are removed. The limit is then twice what remains, so this costs O(1) per link.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "costs.h"

namespace asr::decoder {

struct Link {
  Link() = default;
  Link(uint32_t from, uint32_t to, uint32_t arc, float cost, float acoustic)
      : from(from), to(to), arc(arc), cost(cost), acoustic(acoustic) {}
  uint32_t from;
  uint32_t to;
  uint32_t arc;    // as in Record
  float cost;      // of the cheapest path to `to` through this link, relative to the offset of its layer
  float acoustic;  // acoustic cost of the step; 0 for an epsilon link
};

struct Layer {
  uint32_t node_begin;
  uint32_t link_begin;     // links into this layer: first emitting links from the previous layer
  uint32_t epsilon_begin;  // then epsilon links within this layer
  double offset;           // subtracted from the costs of this layer
};

class LinkPool {
 public:
  void Clear();

  // A layer is built in this order: Begin, AddEmitting for its emitting links, BeginEpsilon, then AddEpsilon
  // for its epsilon links and AddNode for its nodes. `from` and `to` are places of tokens in their frames.
  void Begin(double offset);
  void AddEmitting(int32_t from, int32_t to, uint32_t arc, float cost, float acoustic) {
    links_.emplace_back(layers_[layers_.size() - 2].node_begin + static_cast<uint32_t>(from),
                        layers_.back().node_begin + static_cast<uint32_t>(to), arc, cost, acoustic);
  }
  void BeginEpsilon() { layers_.back().epsilon_begin = static_cast<uint32_t>(links_.size()); }
  void AddEpsilon(int32_t from, int32_t to, uint32_t arc, float cost) {
    const uint32_t begin = layers_.back().node_begin;
    links_.emplace_back(begin + static_cast<uint32_t>(from), begin + static_cast<uint32_t>(to), arc, cost,
                        0.0f);
  }
  void AddNode(float cost) { costs_.push_back(cost); }

  bool IsFull() const { return links_.size() >= limit_; }
  // Removes links and nodes that are on no path within `beam`. `extra`: for each node of the last layer, the
  // cost of the best path through it above that of the best path; infinity removes the node. Nodes of the
  // last layer keep their places if none is removed.
  void Prune(const std::vector<float>& extra, float beam);
  // Like Prune, with all nodes of the last layer active. If too many links would remain, the beam shrinks
  // permanently.
  void CollectGarbage(float beam);
  // No path within this beam has been removed.
  float beam() const { return beam_; }

  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<Link>& links() const { return links_; }
  const std::vector<float>& costs() const { return costs_; }
  // What a path through this link costs above the cheapest path to its node. Negative values are rounding
  // errors.
  float Slack(const Link& link) const { return std::max(0.0f, link.cost - costs_[link.to]); }
  // After Prune: what the best path through a node costs above the best path.
  float Extra(uint32_t node) const { return extras_[node]; }
  size_t NumBytes() const {
    return links_.capacity() * sizeof(Link) +
           (costs_.capacity() + extras_.capacity() + moved_.capacity()) * sizeof(float);
  }
  // After Prune: the new number of each old node; undefined for removed nodes.
  const std::vector<uint32_t>& moved() const { return moved_; }
  uint32_t LinkEnd(size_t layer) const {
    return layer + 1 < layers_.size() ? layers_[layer + 1].link_begin : static_cast<uint32_t>(links_.size());
  }
  uint32_t NodeEnd(size_t layer) const {
    return layer + 1 < layers_.size() ? layers_[layer + 1].node_begin : static_cast<uint32_t>(costs_.size());
  }

 private:
  static constexpr size_t kMinLimit = size_t{1} << 16;  // links: 1.3 MB
  static constexpr size_t kMaxLinks = size_t{1} << 23;  // 170 MB

  void FindExtras(const std::vector<float>& last, float beam);
  void RemoveBeyond(float beam);

  std::vector<Layer> layers_;
  std::vector<Link> links_;
  std::vector<float> costs_;     // one per node
  std::vector<float> extras_;    // scratch of Prune: one per node
  std::vector<uint32_t> moved_;  // as moved()
  size_t limit_ = kMinLimit;
  float beam_ = kInfinity;
};

}  // namespace asr::decoder
