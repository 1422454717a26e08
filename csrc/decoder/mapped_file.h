// How files that are used where they lie are cut into their parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace asr {

// Hands out the parts of a file one behind another, each at a multiple of 8 bytes.
class Parts {
 public:
  Parts(const void* data, size_t num_bytes, std::string name)
      : data_(static_cast<const char*>(data)), num_bytes_(num_bytes), name_(std::move(name)) {}

  // Throws std::invalid_argument when the file ends before.
  template <class T>
  const T* Take(uint64_t count) {
    const char* part = data_ + place_;
    if (count > (num_bytes_ - place_) / sizeof(T)) Refuse("is cut short or damaged");
    place_ = (place_ + count * sizeof(T) + 7) / 8 * 8;
    if (place_ > num_bytes_) Refuse("is cut short or damaged");
    return reinterpret_cast<const T*>(part);
  }

  template <class Header>
  const Header* TakeHeader(const char* magic) {
    const auto* header = Take<Header>(1);
    if (std::memcmp(header->magic, magic, sizeof(header->magic)) != 0)
      Refuse(std::string("does not start with '") + magic + "'");
    if (header->version != 1) Refuse("is of version " + std::to_string(header->version) + ", 1 is read");
    if (header->num_bytes != num_bytes_) {
      Refuse("has " + std::to_string(num_bytes_) + " bytes and its header tells of " +
             std::to_string(header->num_bytes) + ": it is cut short or damaged");
    }
    return header;
  }

  [[noreturn]] void Refuse(const std::string& what) const {
    throw std::invalid_argument("the " + name_ + " " + what + "; run `asr graph` again");
  }

 private:
  const char* data_;
  size_t num_bytes_;
  std::string name_;
  uint64_t place_ = 0;
};

}  // namespace asr
