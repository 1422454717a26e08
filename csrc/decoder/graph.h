// A decoding graph (WFST) in the memory layout of `graph.bin`, used in place: nothing is parsed or copied.
//
// graph.bin, little-endian, version 1 (written by asr/graph/pack.py):
//
//   offset              bytes             content
//   0                   64                Header
//   64                  16 * num_states   State[num_states]
//   64+16*num_states    16 * num_arcs     Arc[num_arcs]
//
// The arcs of a state are arcs[arc_begin, arc_begin + num_emitting + num_epsilon): first the emitting arcs,
// sorted by input label, then the epsilon arcs. The ranges of successive states are adjacent. Costs are
// negative natural logs. Input label k + 1 is token k of the net, so 1 is the CTC blank; 0 is epsilon.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace asr::decoder {

constexpr int32_t kEpsilonLabel = 0;
constexpr int32_t kBlankLabel = 1;
constexpr int32_t kMaxLabel = 1 << 30;  // largest valid input label: the search needs numbers above it

struct Header {
  char magic[8];        // "asrgraph"
  uint32_t version;     // 1
  uint32_t num_states;  // at least 1; below 2^31
  uint32_t num_arcs;    // below 2^31, since the search marks steps by bit 31 (kStay in token_pool.h)
  uint32_t start;       // state
  int32_t max_ilabel;   // largest input label, 0 if there are no emitting arcs
  int32_t max_olabel;
  uint64_t num_bytes;    // of the whole graph, including this header
  uint32_t is_implicit;  // 1: LG without CTC topology and blanks; the search adds them
  uint8_t reserved[20];
};

struct State {
  uint32_t arc_begin;
  uint32_t num_emitting;
  uint32_t num_epsilon;
  float final_cost;  // +infinity: not a final state
};

struct Arc {
  int32_t ilabel;
  int32_t olabel;
  float cost;  // finite, may be negative
  int32_t next;
};

static_assert(sizeof(Header) == 64 && sizeof(State) == 16 && sizeof(Arc) == 16, "the layout of graph.bin");

// A graph, shared by threads. Its memory belongs to the caller, or to the graph itself (LazyGraph).
class Graph {
 public:
  // `data` is aligned to 8 bytes, belongs to the caller and outlives this object. Throws
  // std::invalid_argument, naming the fault, if the header is damaged or, with `check_all`, any state is.
  // Without `check_all` a graph of any size opens at once; the search then calls Check for each state before
  // it reads the arcs.
  Graph(const void* data, size_t num_bytes, bool check_all);
  virtual ~Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Throws std::invalid_argument if the arcs, labels or costs of the state are invalid. `state` must be the
  // start state or the destination of an arc of a checked state.
  void Check(int32_t state) const {
    if (is_checked_ != nullptr && is_checked_[state].load(std::memory_order_acquire) == 0) CheckState(state);
  }

  // Prefetches the memory of a state. Inlined by force: GCC leaves out calls of functions that only prefetch.
  [[gnu::always_inline]] void Prefetch(int32_t state) const {
    __builtin_prefetch(&states_[state]);
    if (is_checked_ != nullptr) __builtin_prefetch(&is_checked_[state]);
  }
  // Prefetches the first 24 arcs of a state: the processor's own prefetching starts too late for so few. A
  // loop over the arcs that the state has would be slower, since its end cannot be predicted.
  [[gnu::always_inline]] void PrefetchArcs(const State& state) const {
    constexpr int kLines = 6, kArcsPerLine = 64 / sizeof(Arc);
    for (int line = 0; line < kLines; ++line) __builtin_prefetch(emitting(state) + line * kArcsPerLine);
  }

  // Whether the emitting arcs of each state are in order of cost, not of input label.
  bool is_by_cost() const { return is_by_cost_; }
  const Header& header() const { return *header_; }
  const State* states() const { return states_; }
  const Arc* arcs() const { return arcs_; }
  const Arc* emitting(const State& state) const { return arcs_ + state.arc_begin; }
  const Arc* epsilon(const State& state) const { return emitting(state) + state.num_emitting; }

 protected:
  Graph() = default;

  const Header* header_ = nullptr;
  const State* states_ = nullptr;
  const Arc* arcs_ = nullptr;
  const std::atomic<uint8_t>* is_checked_ = nullptr;  // one per state; null: all are checked
  bool is_by_cost_ = false;

 private:
  virtual void CheckState(int32_t state) const;

  // Two threads may check the same state; they get the same result.
  std::unique_ptr<std::atomic<uint8_t>[]> own_marks_;
};

}  // namespace asr::decoder
