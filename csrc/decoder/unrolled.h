// The nodes of a pruned LinkPool as the states of an acyclic lattice.
//
// The epsilon links within a layer may form cycles. A path that enters a cycle then passes none of its nodes
// twice: a state is a node of the cycle with the set of the nodes passed. All such paths within the beam are
// in the lattice, and no path that goes around a cycle. In a cycle of very many nodes, the paths are those on
// which the cost of reaching the nodes climbs, which include the cheapest; the beam shrinks by what that
// leaves out.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "links.h"

namespace asr::decoder {

class Unrolled {
 public:
  // `pool` has been pruned to `beam`, and outlives this object.
  Unrolled(const LinkPool& pool, float beam);

  int32_t num_states() const { return num_states_; }
  // No path within this beam is missing: less than that of the pool if the cycles needed too many states.
  float beam() const { return beam_; }
  // Calls add(state) for each state of a node.
  template <class Add>
  void ForStates(uint32_t node, const Add& add) const {
    const auto cyclic = cyclic_.find(node);
    if (cyclic == cyclic_.end()) return add(states_[node]);
    for (const int32_t state : cyclic->second.states) add(state);
  }
  // Calls add(from, to) for each pair of states that the k-th link joins.
  template <class Add>
  void ForPairs(uint32_t k, const Add& add) const {
    const Link& link = pool_.links()[k];
    if (const auto pairs = pairs_.find(k); pairs != pairs_.end()) {
      for (const auto& [from, to] : pairs->second) add(from, to);
    } else {
      ForStates(link.from, [&](int32_t from) { add(from, states_[link.to]); });
    }
  }

 private:
  struct Cyclic {
    int32_t cycle;  // number of the cycle, over all layers
    int32_t rank;   // within the cycle, in order of `cost`
    std::vector<int32_t> states;
    std::vector<uint32_t> links;  // that leave the node within its cycle
    float entry;  // what entering the cycle here costs above the cheapest path to the node; infinity: no link
    float cost;   // what reaching the node from an entry costs above its cheapest path
    uint32_t previous;  // the node before it on that way; itself at the entry
  };
  // A state of a cycle: the ranks of the nodes passed, as bits, and the node reached.
  using Visit = std::pair<uint64_t, uint32_t>;
  static constexpr size_t kMaxNodes = 64;  // of a cycle with such states

  bool OrderAcyclic(size_t layer);
  void OrderCyclic(size_t layer);
  std::vector<uint32_t> Rank(const std::vector<uint32_t>& nodes);
  void Climb(const std::vector<uint32_t>& order);
  void Unroll(const std::vector<uint32_t>& order);
  std::map<Visit, float> FindVisits(const std::vector<uint32_t>& order);

  const LinkPool& pool_;
  float beam_;
  int32_t num_states_ = 0;
  int32_t num_cycles_ = 0;
  std::vector<int32_t> states_;  // of each node: its state, or the state in which it is entered; -1: none
  std::unordered_map<uint32_t, Cyclic> cyclic_;                                   // the nodes in cycles
  std::unordered_map<uint32_t, std::vector<std::pair<int32_t, int32_t>>> pairs_;  // of the links in cycles
};

}  // namespace asr::decoder
