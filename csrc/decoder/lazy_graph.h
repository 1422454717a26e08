// det(L o G), expanded on demand: the graph that asr/graph/spelling_trees.py compiles as a whole, expanded
// state by state when a search first reaches it, in the memory layout of Graph. Arcs, costs and labels are
// the same; words with the same ending share the states of that ending, as after minimisation.
//
// There are three kinds of states. Until a state is expanded, only its origin is stored:
//
// - A joint, where words begin after a history: the tree of the words that the n-gram model lists there, a
//   back-off arc to the shorter history, and an epsilon arc into each slot. With a separator, a word ends in
//   a separate state, which the separator leaves. Within a slot, there is a joint for each place of its
//   automaton and each history after the slot; an epsilon arc leaves the slot where it may end.
// - A node of that tree: a range of leaves with a common prefix. An arc costs the log-sum of the leaves below
//   it minus that of the leaves of the node, so that the cost of a word is applied as early as possible.
// - A tail, where only one word is left: a suffix and the joint after it.
//
// The emitting arcs of a state are in order of cost, so that a search need not look at those of rare words.
//
// Threads share the graph: a state is expanded under a lock and then searched without one. Expanded states
// stay as long as the graph, and an utterance keeps the graph that it started with, so an endless stream
// grows the graph up to its limit. At the limit, or if memory runs out, the graph is marked full and never
// grows again: its expanded states can still be searched, and a search that needs others is refused.
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

namespace asr::decoder {

class LazyGraph : public Graph {
 public:
  // `vocabulary` outlives the graph. This and Check throw std::invalid_argument if the graph would need more
  // than `max_bytes`.
  LazyGraph(const Vocabulary& vocabulary, size_t max_bytes);

  struct Size {
    size_t num_states;
    size_t num_arcs;
    size_t num_bytes;
    bool is_full;  // growing has failed and is not attempted again
  };
  // The size of the expanded part.
  Size size() const;

 private:
  // What a state stands for. A joint, or the end of a word before it: `context`. A node: the leaves [begin,
  // end) of `context`, which have `depth` labels in common. A tail: the suffix `begin` and the joint `end`.
  enum class Kind : uint32_t { kJoint, kWordEnd, kNode, kTail };
  struct Origin {
    Kind kind;
    uint32_t context;
    uint32_t begin;
    uint32_t end;
    uint32_t depth;
  };
  static constexpr size_t kStateBytes = sizeof(State) + sizeof(uint8_t) + sizeof(Origin);
  // The source of the leaves of a tree: a history, or a place in a slot and the history after the slot.
  struct Context {
    const Leaves* leaves;
    bool is_slot;
    uint32_t history;  // for a slot, the history after it
    uint32_t place;    // in the slot
  };

  void CheckState(int32_t state) const override;
  void Grow(int32_t state);
  void GrowJoint(int32_t state, const Origin& origin);
  void GrowInSlot(int32_t state, const Context& context, const Origin& whole);
  void GrowRange(const Context& context, const Origin& range, float paid);
  uint32_t EndOfRun(const Leaves& leaves, uint32_t begin, uint32_t end, uint32_t depth) const;

  size_t NumBytes() const;
  void RequireBytes(size_t num_bytes) const;
  [[noreturn]] void Refuse() const;
  int32_t NewState(const Origin& origin);
  int32_t Find(uint64_t key, const Origin& origin);
  int32_t Joint(uint32_t context);
  int32_t WordEnd(uint32_t context);
  int32_t Tail(uint32_t suffix, int32_t joint);
  uint32_t HistoryContext(uint32_t history);
  uint32_t SlotContext(uint32_t place, uint32_t history);
  uint32_t ContextAfter(const Context& context, const Leaf& leaf);
  uint32_t FindContext(uint64_t key, const Context& context);
  void AddArc(int32_t ilabel, int32_t olabel, float cost, int32_t next) {
    grown_.push_back({ilabel, olabel, cost, next});
  }

  const Vocabulary& vocabulary_;
  const size_t max_bytes_;
  Header own_header_ = {};
  Reserved<State> own_states_;
  Reserved<Arc> own_arcs_;
  Reserved<std::atomic<uint8_t>> is_grown_;
  mutable std::mutex mutex_;  // protects growth and all members below
  std::vector<Origin> origins_;
  NumberMap numbers_;  // of the states that several arcs can lead to
  std::vector<Context> contexts_;
  NumberMap context_numbers_;
  std::unordered_map<uint32_t, Leaves> leaves_;  // after each history
  size_t num_leaves_ = 0;
  bool is_full_ = false;
  std::vector<Arc> grown_;  // scratch of Grow: the arcs of the state
};

}  // namespace asr::decoder
