// Reads files that are used in place (memory-mapped): a header and arrays, each at a multiple of 8 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace asr::decoder {

// Hands out the parts of a file in order. All methods throw std::invalid_argument if the file is damaged.
class MappedFile {
 public:
  // `data` belongs to the caller; `name` appears in messages.
  MappedFile(const void* data, size_t num_bytes, std::string name)
      : data_(static_cast<const char*>(data)), num_bytes_(num_bytes), name_(std::move(name)) {}

  // The header, at an address aligned to 8 bytes. It must have the members magic, version and num_bytes (of
  // the whole file).
  template <class Header>
  const Header* TakeHeader(const char* magic) {
    if (num_bytes_ < sizeof(Header)) {
      Refuse("has " + std::to_string(num_bytes_) + " bytes, fewer than its header of " +
             std::to_string(sizeof(Header)) + "; it is truncated");
    }
    if (reinterpret_cast<uintptr_t>(data_) % 8 != 0) Refuse("is not aligned to 8 bytes in memory");
    const auto* header = Take<Header>(1);
    if (std::memcmp(header->magic, magic, sizeof(header->magic)) != 0)
      Refuse(std::string("does not start with '") + magic + "'");
    if (header->version != 1)
      Refuse("has format version " + std::to_string(header->version) + ", supported: 1");
    if (header->num_bytes != num_bytes_) {
      Refuse("has " + std::to_string(num_bytes_) + " bytes, but its header says " +
             std::to_string(header->num_bytes) + "; it is truncated or damaged");
    }
    return header;
  }

  // The next part: `count` elements.
  template <class T>
  const T* Take(uint64_t count) {
    const char* part = data_ + place_;
    if (count > (num_bytes_ - place_) / sizeof(T)) Refuse("is truncated or damaged");
    place_ = (place_ + count * sizeof(T) + 7) / 8 * 8;
    if (place_ > num_bytes_) Refuse("is truncated or damaged");
    return reinterpret_cast<const T*>(part);
  }

  // Whether an optional last part follows.
  bool HasMore() const { return place_ < num_bytes_; }

  // Call after the last part: the file must end there.
  void Finish() const {
    if (place_ != num_bytes_) Refuse("has bytes after its last part; it is damaged");
  }

  // Refuses counts of 2^31 and above: numbers of states, arcs, labels and words are int32_t in the search.
  void RequireCount(uint64_t count, const char* what) const {
    if (count > static_cast<uint64_t>(std::numeric_limits<int32_t>::max()))
      Refuse("has " + std::to_string(count) + " " + what + ", more than 2^31 - 1; prune the language model");
  }

  // Refuses the file unless `is_good`; `fault` says what is wrong otherwise.
  void Expect(bool is_good, const char* fault) const {
    if (!is_good) Refuse(std::string("is damaged: ") + fault);
  }

  [[noreturn]] void Refuse(const std::string& fault) const {
    throw std::invalid_argument("the " + name_ + " " + fault + "; run `asr graph` again");
  }

 private:
  const char* data_;
  size_t num_bytes_;
  std::string name_;
  uint64_t place_ = 0;
};

}  // namespace asr::decoder
