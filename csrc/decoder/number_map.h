// A map from 64-bit keys to numbers, which only grows: open addressing in one array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace asr {

class NumberMap {
 public:
  NumberMap() : slots_(1024) {}

  // The number of the key, which is `fresh` where there was none; and whether it is.
  std::pair<uint32_t, bool> FindOrAdd(uint64_t key, uint32_t fresh) {
    if (2 * size_ >= slots_.size()) Grow();
    Slot& slot = slots_[FindSlot(key)];
    if (slot.is_used) return {slot.number, false};
    slot = {key, fresh, true};
    ++size_;
    return {fresh, true};
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

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
};

}  // namespace asr
