// An array that grows without moving: the address space is reserved at once, memory is committed on use.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

#include "huge_pages.h"

namespace asr::decoder {

// Null if the address space (`ulimit -v`) has no room.
inline void* ReserveAddresses(size_t num_bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* memory = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// For plain types for which all-zero bytes are a valid value. One thread writes at a time; other threads may
// read elements that have been published to them.
template <class T>
class Reserved {
 public:
  explicit Reserved(size_t capacity)
      : data_(static_cast<T*>(ReserveAddresses(capacity * sizeof(T)))), capacity_(capacity) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Reserved() { munmap(data_, capacity_ * sizeof(T)); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;

  T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  // For an array that fills up from its beginning; one that is used in few places would take 2 MB for each.
  void AskForHugePages() const { PreferHugePages(data_, capacity_ * sizeof(T)); }
  // Adds `count` elements; the size must stay within the capacity.
  void Grow(size_t count) { size_ += count; }

 private:
  T* data_;
  size_t capacity_;
  size_t size_ = 0;
};

}  // namespace asr::decoder
