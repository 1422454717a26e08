// The memory of the search: the tokens of one frame by graph state, and the records of how they came there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace asr {

// A path's end: the state it reached, its cost, and the last step that led there.
struct Token {
  int32_t state;
  int32_t context;  // what else of the path's past decides its future: see search.h
  float cost;
  int32_t record;  // into the TokenPool; kNoRecord at the start of the utterance
};

constexpr int32_t kNoRecord = -1;
// The cost of a token that goes before its time. It lies above every cutoff.
constexpr float kDropped = std::numeric_limits<float>::infinity();

// One step of a path: the arc taken, and the record of the step before. A step that stays where it is, which
// an implicit topology knows (see search.h), is written kStay | its input label in the arc's place.
struct Record {
  int32_t previous;
  uint32_t arc;
};

constexpr uint32_t kStay = 0x80000000u;

// All records of an utterance in one arena, with indices for pointers.
// Invariant: a record points to an older one, `previous` < its own index; so walking back always ends.
class TokenPool {
 public:
  void Clear() { records_.clear(); }
  int32_t Add(int32_t previous, uint32_t arc) {
    records_.push_back({previous, arc});
    return static_cast<int32_t>(records_.size()) - 1;
  }
  // Puts another step in the place of `record`, which nothing may point to yet.
  void Replace(int32_t record, int32_t previous, uint32_t arc) { records_[record] = {previous, arc}; }
  const Record& operator[](int32_t record) const { return records_[record]; }

  bool IsFull() const { return records_.size() >= limit_; }
  // Drops every record that no path of `tokens` uses and renumbers the rest, in order.
  void CollectGarbage(std::vector<Token>* tokens);

 private:
  static constexpr size_t kLeastLimit = size_t{1} << 18;  // records: 2 MB

  std::vector<Record> records_;
  std::vector<int32_t> moved_;  // scratch of CollectGarbage: new index of each record
  size_t limit_ =
      kLeastLimit;  // twice what survived the last collection, so that collecting costs O(1) a record
};

// (State, context) -> place in the list of the frame's tokens: open addressing, cleared in O(1) by a new
// stamp.
class StateMap {
 public:
  StateMap() : slots_(1024) {}

  void Clear() {
    size_ = 0;
    if (++stamp_ == 0) Restamp();
  }

  // The place of the pair; when it has none yet, it gets `new_place`.
  int32_t FindOrAdd(int32_t state, int32_t context, int32_t new_place) {
    if (2 * size_ >= slots_.size()) Grow();
    const uint64_t key = Key(state, context);
    Slot& slot = Find(key);
    if (slot.stamp != stamp_) {
      slot = {key, stamp_, new_place};
      ++size_;
    }
    return slot.place;
  }
  // Asks for the memory that Find and FindOrAdd will look at.
  void Prefetch(int32_t state) const { __builtin_prefetch(&slots_[FirstSlot(state)]); }
  // The place of the pair, or -1 when it has none.
  int32_t Find(int32_t state, int32_t context) {
    const Slot& slot = Find(Key(state, context));
    return slot.stamp == stamp_ ? slot.place : -1;
  }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t stamp = 0;  // the slot is empty unless this is the map's stamp
    int32_t place = 0;
  };

  static uint64_t Key(int32_t state, int32_t context) {
    return static_cast<uint64_t>(context) << 32 | static_cast<uint32_t>(state);
  }
  size_t FirstSlot(int32_t state) const {
    // Fibonacci hashing: neighbouring states, which are often alive together, land far apart. The contexts of
    // a state, which are few, lie together.
    return (static_cast<uint32_t>(state) * uint64_t{0x9E3779B97F4A7C15u} >> 32) & (slots_.size() - 1);
  }
  Slot& Find(uint64_t key) {
    const size_t mask = slots_.size() - 1;
    size_t i = FirstSlot(static_cast<int32_t>(key));
    while (slots_[i].stamp == stamp_ && slots_[i].key != key) i = (i + 1) & mask;
    return slots_[i];
  }
  void Grow();
  void Restamp();

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
  uint32_t stamp_ = 1;
};

}  // namespace asr
