// det(L o G), grown where a search goes: the graph that asr/graph/expand.py compiles whole, state by state
// when it is first reached, in the layout that the search walks anyway. A state's arcs, costs and labels are
// the same; words that end alike share the way to their end, as after minimization.
//
// Three kinds of states, each known by its origin until it is grown:
//
// - a joint, where words begin after a history: the tree of the words that the n-gram lists there, a back-off
// arc to
//   the shorter history, an epsilon arc into each slot. With a separator a word ends in a joint of its own,
//   which the separator leaves.
// - a node of that tree: a range of leaves that begin alike. Its arcs cost the log-sum of the leaves below
// less that
//   of the node, so that a word's cost is paid as early as it is known.
// - a tail, where one word is left: a suffix, and the joint behind it.
//
// Threads share it: a state is grown under a lock, and searched without once it is. What is grown stays while
// the graph does, and an utterance keeps the graph that it began with, so a stream that never ends grows it
// up to its limit. There, or where memory ends, it is full for good: what is grown can still be searched, and
// a search that needs more is refused.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "graph.h"
#include "number_map.h"
#include "reserved.h"
#include "vocabulary.h"

namespace asr {

class LazyGraph : public Graph {
 public:
  // `vocabulary` outlives it. Throws std::invalid_argument, here and in Check, rather than to take more than
  // `most_bytes`.
  LazyGraph(const Vocabulary& vocabulary, size_t most_bytes);

  struct Size {
    size_t num_states;
    size_t num_arcs;
    size_t num_bytes;
    bool is_full;  // growing has failed, and is not tried again
  };
  // What has been grown so far.
  Size size() const;

 private:
  // What a state is. Of a joint: `context`. Of a node: the leaves begin .. end - 1 of `context`, which have
  // `depth` labels in common. Of a tail: the suffix `begin` and the joint `end`.
  enum class Kind : uint32_t { kJoint, kWordEnd, kNode, kTail };
  struct Origin {
    Kind kind;
    uint32_t context;
    uint32_t begin;
    uint32_t end;
    uint32_t depth;
  };
  static constexpr size_t kStateBytes = sizeof(State) + sizeof(uint8_t) + sizeof(Origin);
  // A history, or a slot and the history behind it: what a tree's leaves come from.
  struct Context {
    const Leaves* leaves;
    bool is_slot;
    uint32_t history;  // of a slot the one behind it
  };

  void CheckState(int32_t state) const override;
  void Grow(int32_t state);
  void GrowJoint(int32_t state, const Origin& origin);
  void GrowRange(const Context& context, const Origin& range, float spent);
  uint32_t EndOfRun(const Leaves& leaves, uint32_t begin, uint32_t end, uint32_t depth) const;

  size_t NumBytes() const;
  void Demand(size_t num_bytes) const;
  [[noreturn]] void Refuse() const;
  int32_t NewState(const Origin& origin);
  int32_t Find(uint64_t key, const Origin& origin);
  int32_t Joint(uint32_t context);
  int32_t WordEnd(uint32_t history);
  int32_t Tail(uint32_t suffix, int32_t joint);
  uint32_t HistoryContext(uint32_t history);
  uint32_t SlotContext(uint32_t slot, uint32_t history);
  uint32_t FindContext(uint64_t key, const Context& context);
  void AddArc(int32_t ilabel, int32_t olabel, float cost, int32_t next) {
    grown_.push_back({ilabel, olabel, cost, next});
  }

  const Vocabulary& vocabulary_;
  const size_t most_bytes_;
  Header own_header_ = {};
  Reserved<State> own_states_;
  Reserved<Arc> own_arcs_;
  Reserved<std::atomic<uint8_t>> is_grown_;
  mutable std::mutex mutex_;  // over all below, and all growth
  std::vector<Origin> origins_;
  NumberMap numbers_;  // of states that several arcs may lead to
  std::vector<Context> contexts_;
  NumberMap context_numbers_;
  std::unordered_map<uint32_t, Leaves> leaves_;  // after each history
  size_t num_leaves_ = 0;
  bool is_full_ = false;
  std::vector<Arc> grown_;  // scratch: the arcs of the state that is being grown
};

}  // namespace asr
