// An n-gram as one number: the ids of its words with `bits` bits each, the first word in the highest bits.
// Comparing numbers compares n-grams. Suffix order is the order of the numbers of the reversed n-grams.
#pragma once

#include <array>
#include <cstdint>

namespace asr::lm {

constexpr int kMaxOrder = 8;

template <int W>
struct Key {
  std::array<uint64_t, W> parts{};  // the lowest bits first

  friend bool operator==(const Key& a, const Key& b) { return a.parts == b.parts; }
  friend bool operator!=(const Key& a, const Key& b) { return a.parts != b.parts; }
  friend bool operator<(const Key& a, const Key& b) {
    for (int i = W - 1; i > 0; --i)
      if (a.parts[i] != b.parts[i]) return a.parts[i] < b.parts[i];
    return a.parts[0] < b.parts[0];
  }
  int Byte(int i) const { return parts[i / 8] >> (i % 8 * 8) & 0xff; }
};

// Builds keys from ids of `bits` bits, 1 to 31.
template <int W>
class Packing {
 public:
  explicit Packing(int bits) : bits_(bits) {}
  int bits() const { return bits_; }

  // The n-gram with one more word at its end.
  Key<W> Append(Key<W> key, uint32_t id) const {
    for (int i = W - 1; i > 0; --i) key.parts[i] = key.parts[i] << bits_ | key.parts[i - 1] >> (64 - bits_);
    key.parts[0] = key.parts[0] << bits_ | id;
    return key;
  }
  // The n-gram without its last words.
  Key<W> Cut(Key<W> key, int num_words = 1) const {
    for (; num_words > 0; --num_words) {
      for (int i = 0; i + 1 < W; ++i) key.parts[i] = key.parts[i] >> bits_ | key.parts[i + 1] << (64 - bits_);
      key.parts[W - 1] >>= bits_;
    }
    return key;
  }
  // The n-gram of order n that has word `id` before the n-gram `key` of order n - 1.
  Key<W> Precede(Key<W> key, uint32_t id, int n) const {
    const int at = (n - 1) * bits_, part = at / 64, shift = at % 64;
    key.parts[part] |= static_cast<uint64_t>(id) << shift;
    if (shift + bits_ > 64) key.parts[part + 1] |= static_cast<uint64_t>(id) >> (64 - shift);
    return key;
  }
  Key<W> Repeat(uint32_t id, int n) const {
    Key<W> key;
    for (; n > 0; --n) key = Append(key, id);
    return key;
  }
  uint32_t Last(const Key<W>& key) const { return key.parts[0] & ((uint64_t{1} << bits_) - 1); }
  // The words of an n-gram of order n, in order.
  std::array<uint32_t, kMaxOrder> Unpack(Key<W> key, int n) const {
    std::array<uint32_t, kMaxOrder> ids{};
    for (; n > 0; --n, key = Cut(key)) ids[n - 1] = Last(key);
    return ids;
  }
  Key<W> Reverse(Key<W> key, int n) const {
    Key<W> reversed;
    for (; n > 0; --n, key = Cut(key)) reversed = Append(reversed, Last(key));
    return reversed;
  }

 private:
  int bits_;
};

}  // namespace asr::lm
