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

// State -> places in a list of what is there, of tokens one a context: open addressing, cleared in O(1) by a
// new stamp. A slot does not hold the context: `is_it(place)` tells whether it is the one looked for, which
// looks at what the caller will need anyway.
class StateMap {
 public:
  StateMap() : slots_(1024) {}

  void Clear() {
    size_ = 0;
    if (++stamp_ == 0) Restamp();
  }

  // The place; where there is none yet, `new_place` becomes it.
  template <class IsIt>
  int32_t FindOrAdd(int32_t state, int32_t new_place, const IsIt& is_it) {
    if (2 * size_ >= slots_.size()) Grow();
    Slot& slot = slots_[FindSlot(state, is_it)];
    if (slot.stamp != stamp_) {
      slot = {stamp_, state, new_place};
      ++size_;
    }
    return slot.place;
  }
  // The place, or -1.
  template <class IsIt>
  int32_t Find(int32_t state, const IsIt& is_it) const {
    const Slot& slot = slots_[FindSlot(state, is_it)];
    return slot.stamp == stamp_ ? slot.place : -1;
  }

 private:
  struct Slot {
    uint32_t stamp = 0;  // the slot is empty unless this is the map's stamp
    int32_t state = 0;
    int32_t place = 0;
  };

  size_t FirstSlot(int32_t state) const {
    // Fibonacci hashing: neighbouring states, which are often alive together, land far apart.
    return (static_cast<uint32_t>(state) * uint64_t{0x9E3779B97F4A7C15u} >> 32) & (slots_.size() - 1);
  }
  // The slot, or the empty one where it would be.
  template <class IsIt>
  size_t FindSlot(int32_t state, const IsIt& is_it) const {
    const size_t mask = slots_.size() - 1;
    size_t i = FirstSlot(state);
    while (slots_[i].stamp == stamp_ && !(slots_[i].state == state && is_it(slots_[i].place)))
      i = (i + 1) & mask;
    return i;
  }
  void Grow();
  void Restamp();

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
  uint32_t stamp_ = 1;
};

}  // namespace asr
