// The memory of the search: the tokens of one frame by graph state, and the records of their paths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "costs.h"

namespace asr::decoder {

// The end of a path: the state it has reached, its cost and its last step.
//
// The elements of the search's lists have constructors for emplace_back: push_back of a list in braces writes
// the fields to the stack and reads them back as a whole, for which the processor waits.
struct Token {
  Token(int32_t state, int32_t context, float cost, int32_t record)
      : state(state), context(context), cost(cost), record(record) {}
  int32_t state;
  int32_t context;  // the rest of the path's history that affects its future: see search.h
  float cost;
  int32_t record;  // into the TokenPool; kNoRecord at the start of the utterance
};

constexpr int32_t kNoRecord = -1;
// The cost of a token that has been dropped during its frame; it is above every cutoff.
constexpr float kDropped = kInfinity;

// One step of a path: the arc taken, and the record of the previous step. A step of an implicit topology that
// stays in the same graph state (see search.h) has kStay | its input label in place of the arc.
struct Record {
  Record() = default;
  Record(int32_t previous, uint32_t arc) : previous(previous), arc(arc) {}
  int32_t previous;
  uint32_t arc;
};

constexpr uint32_t kStay = 0x80000000u;

// All records of an utterance in one arena, linked by index. Invariant: `previous` of a record is smaller
// than its own index, so tracing back always ends.
class TokenPool {
 public:
  void Clear() { records_.clear(); }
  int32_t Add(int32_t previous, uint32_t arc) {
    records_.emplace_back(previous, arc);
    return static_cast<int32_t>(records_.size()) - 1;
  }
  // Replaces the step of `record`; no other record may point to it yet.
  void Replace(int32_t record, int32_t previous, uint32_t arc) { records_[record] = {previous, arc}; }
  const Record& operator[](int32_t record) const { return records_[record]; }

  bool IsFull() const { return records_.size() >= limit_; }
  // Records have 32-bit numbers; half of them are left for the records of one frame.
  bool IsBeyondNumbers() const { return records_.size() >= size_t{1} << 30; }
  size_t NumBytes() const {
    return records_.capacity() * sizeof(Record) + moved_.capacity() * sizeof(int32_t);
  }
  // Removes all records that are on no path of `tokens` and renumbers the others in order.
  void CollectGarbage(std::vector<Token>* tokens);

 private:
  static constexpr size_t kMinLimit = size_t{1} << 18;  // records: 2 MB

  std::vector<Record> records_;
  std::vector<int32_t> moved_;  // scratch of CollectGarbage: new index of each record
  size_t limit_ = kMinLimit;    // twice the records that the last collection left: O(1) work per record
};

// Maps a state and a context to a place in the caller's list, for instance of tokens: open addressing,
// cleared in O(1) by a new stamp. A slot stores no key; `key_of(place)` gets it from the caller's
// element, which the caller will read anyway.
class StateMap {
 public:
  struct Key {
    int32_t state;
    int32_t context;
  };
  // From now on uses as many slots as `num_expected` elements need, so that after a frame with many elements
  // the slots are in the cache again. At a quarter full, a search seldom needs a second slot.
  void Clear(size_t num_expected) {
    size_ = 0;
    size_t num_slots = kMinSlots;
    while (num_slots < 4 * num_expected) num_slots *= 2;
    UseSlots(num_slots);
  }

  // The place; if there is none, adds `new_place`.
  template <class KeyOf>
  int32_t FindOrAdd(int32_t state, int32_t context, int32_t new_place, const KeyOf& key_of) {
    if (2 * size_ > mask_) Grow(key_of);
    Slot& slot = slots_[FindSlot({state, context}, key_of)];
    if (slot.stamp != stamp_) {
      slot.stamp = stamp_;
      slot.place = new_place;
      ++size_;
    }
    return slot.place;
  }
  // The place, or -1.
  template <class KeyOf>
  int32_t Find(int32_t state, int32_t context, const KeyOf& key_of) const {
    const Slot& slot = slots_[FindSlot({state, context}, key_of)];
    return slot.stamp == stamp_ ? slot.place : -1;
  }
  [[gnu::always_inline]] void Prefetch(int32_t state, int32_t context) const {
    __builtin_prefetch(&slots_[FirstSlot({state, context})]);
  }
  size_t NumBytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  static constexpr size_t kMinSlots = 512;
  struct Slot {
    uint32_t stamp = 0;  // the slot is empty unless this equals the stamp of the map
    int32_t place = 0;
  };

  size_t FirstSlot(Key key) const {
    // Fibonacci hashing spreads neighbouring states and contexts, which are often active together.
    const uint64_t hash = static_cast<uint32_t>(key.state) * uint64_t{0x9E3779B97F4A7C15u} +
                          static_cast<uint32_t>(key.context) * uint64_t{0xD1B54A32D192ED03u};
    return (hash >> 32) & mask_;
  }
  // The slot, or the empty slot where it would be added.
  template <class KeyOf>
  size_t FindSlot(Key key, const KeyOf& key_of) const {
    size_t i = FirstSlot(key);
    while (slots_[i].stamp == stamp_) {
      const Key other = key_of(slots_[i].place);
      if (other.state == key.state && other.context == key.context) break;
      i = (i + 1) & mask_;
    }
    return i;
  }
  void UseSlots(size_t num_slots);
  template <class KeyOf>
  void Grow(const KeyOf& key_of) {
    std::vector<int32_t> places;
    for (size_t i = 0; i <= mask_; ++i)
      if (slots_[i].stamp == stamp_) places.push_back(slots_[i].place);
    UseSlots(2 * (mask_ + 1));
    for (const int32_t place : places) {
      Slot& slot = slots_[FindSlot(key_of(place), key_of)];
      slot.stamp = stamp_;
      slot.place = place;
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(kMinSlots);
  size_t mask_ = kMinSlots - 1;  // slots in use - 1; their number is a power of two, at most half are full
  size_t size_ = 0;
  uint32_t stamp_ = 1;
};

}  // namespace asr::decoder
