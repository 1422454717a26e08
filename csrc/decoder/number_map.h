// A map from 64-bit keys to numbers that only grows: open addressing in one array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace asr::decoder {

class NumberMap {
 public:
  NumberMap() : slots_(1024) {}

  // The number of the key, or null.
  const uint32_t* Find(uint64_t key) const {
    const Slot& slot = slots_[FindSlot(key)];
    return slot.is_used ? &slot.number : nullptr;
  }
  // Adds a key that is not in the map.
  void Add(uint64_t key, uint32_t number) {
    if (2 * size_ >= slots_.size()) Grow();
    slots_[FindSlot(key)] = {key, number, true};
    ++size_;
  }
  size_t NumBytes() const { return slots_.size() * sizeof(Slot); }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t number = 0;
    bool is_used = false;
  };

  size_t FindSlot(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t hash = (key ^ key >> 32) * uint64_t{0x9E3779B97F4A7C15u};  // Fibonacci hashing
    size_t i = (hash ^ hash >> 32) & mask;
    while (slots_[i].is_used && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }
  void Grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.is_used) slots_[FindSlot(slot.key)] = slot;
  }

  std::vector<Slot> slots_;  // size is a power of two; at most half full
  size_t size_ = 0;
};

}  // namespace asr::decoder
