// The nodes of a pruned LinkPool as the states of an acyclic lattice.
//
// The epsilon links within a layer may form cycles. The nodes of a cycle get a rank: each comes after its
// predecessor on the cheapest path to it, so the cheapest path to every node climbs. A link that does not
// climb leads to a further copy of the cycle's nodes. Every path that passes no node twice is thus in the
// lattice, since it enters each node by at most one such link.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "links.h"

namespace asr::decoder {

class Unrolled {
 public:
  // `pool` has been pruned to `beam`; copies hold the nodes and paths within it.
  Unrolled(const LinkPool& pool, float beam);

  int32_t num_states() const { return num_states_; }
  // No path within this beam is missing: less than that of the pool if the copies needed too much memory.
  float beam() const { return beam_; }
  // Calls add(state) for each state of a node.
  template <class Add>
  void ForStates(uint32_t node, const Add& add) const {
    const auto cyclic = cyclic_.find(node);
    if (cyclic == cyclic_.end()) return add(states_[node]);
    for (const int32_t state : cyclic->second.states)
      if (state >= 0) add(state);
  }
  // Calls add(from, to) for each pair of states that a link joins.
  template <class Add>
  void ForPairs(const Link& link, bool is_epsilon, const Add& add) const {
    const auto from = cyclic_.find(link.from);
    if (from == cyclic_.end()) return add(states_[link.from], states_[link.to]);
    const auto to = is_epsilon ? cyclic_.find(link.to) : cyclic_.end();
    const bool is_within = to != cyclic_.end() && to->second.cycle == from->second.cycle;
    const std::vector<int32_t>& sources = from->second.states;
    for (size_t copy = 0; copy < sources.size(); ++copy) {
      if (sources[copy] < 0) continue;
      if (!is_within) {
        add(sources[copy], states_[link.to]);
        continue;
      }
      const size_t target = copy + (to->second.rank <= from->second.rank);
      if (target < to->second.states.size() && to->second.states[target] >= 0)
        add(sources[copy], to->second.states[target]);
    }
  }

 private:
  struct Cyclic {
    int32_t cycle;                // number of the cycle, over all layers
    int32_t rank;                 // within the cycle
    std::vector<int32_t> states;  // of each copy; -1: beyond the beam
  };

  // The cycles of a layer.
  struct Cycles {
    std::unordered_map<uint32_t, float> cost;  // of reaching a node, above the cheapest path to it
    std::unordered_map<uint32_t, std::vector<uint32_t>>
        links;  // within the cycle of the node that they leave
  };

  bool OrderAcyclic(size_t layer);
  void OrderCyclic(size_t layer);
  std::vector<uint32_t> Rank(const std::vector<uint32_t>& nodes, Cycles* cycles);
  void Unroll(const std::vector<uint32_t>& order, Cycles* cycles);

  const LinkPool& pool_;
  float beam_;
  int32_t num_states_ = 0;
  int32_t num_cycles_ = 0;
  std::vector<int32_t> states_;                  // of each node: its state, or that of its first copy
  std::unordered_map<uint32_t, Cyclic> cyclic_;  // the nodes in cycles
};

}  // namespace asr::decoder
