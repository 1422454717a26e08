// N-grams of the highest order with their counts, as counts files (asr/lm/counts_file.py) hold them: in
// suffix order, each as its difference from the one before.
//
//     n-gram = shared, step, id, id, ..., count        LEB128: 7 bits per byte, the lowest first
//
// The words of an n-gram are written from the last to the first. `shared` of them are those of the n-gram
// before, and the next is that of the n-gram before plus `step`. An n-gram ends at `<s>`, before which there
// is only padding.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "key.h"
#include "memory.h"
#include "spool.h"
#include "vocabulary.h"

namespace asr::lm {

struct Reversed {  // an n-gram from the last word to the first
  std::array<uint32_t, kMaxOrder> words{};
  uint64_t count = 0;
  // The number of words up to `<s>` or, without it, up to `order`.
  int Length(int order) const {
    int length = 1;
    while (length < order && words[length - 1] != kBegin) ++length;
    return length;
  }
};

class NgramPacker {
 public:
  explicit NgramPacker(int order) : order_(order) {}

  // N-grams must come in ascending order.
  void Add(const Reversed& ngram, std::string& out) {
    int n = 0;
    while (ngram.words[n] == last_.words[n]) ++n;
    Put(n, out);
    Put(ngram.words[n] - last_.words[n], out);
    for (const int length = ngram.Length(order_); ++n < length;) Put(ngram.words[n], out);
    Put(ngram.count, out);
    last_ = ngram;
  }

 private:
  static void Put(uint64_t number, std::string& out) {
    for (; number >= 0x80; number >>= 7) out += static_cast<char>(number | 0x80);
    out += static_cast<char>(number);
  }
  const int order_;
  Reversed last_;
};

class NgramUnpacker {
 public:
  // `num_ids`: ids in the file are less.
  NgramUnpacker(int order, size_t num_ids) : order_(order), num_ids_(num_ids) {}

  // Reads an n-gram; `next()` returns a byte. Throws std::invalid_argument for bytes that are no n-gram that
  // ascends.
  template <class Next>
  const Reversed& Read(Next&& next) {
    const uint64_t shared = Take(next);
    Check(shared < static_cast<uint64_t>(length_), "an n-gram has too many words");
    int n = static_cast<int>(shared);
    const uint64_t step = Take(next);
    Check(step > 0, "the n-grams do not ascend");
    Set(n, last_.words[n] + step);
    while (last_.words[n] != kBegin && n + 1 < order_) Set(++n, Take(next));
    length_ = n + 1;
    while (++n < order_) last_.words[n] = kBegin;
    last_.count = Take(next);
    Check(last_.count > 0, "the count of an n-gram is 0");
    return last_;
  }
  // Of the latest n-gram, as Reversed::Length.
  int length() const { return length_; }

 private:
  template <class Next>
  static uint64_t Take(Next&& next) {
    uint64_t number = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint64_t byte = next();
      number |= (byte & 0x7f) << shift;
      if (byte < 0x80) return number;
    }
    throw std::invalid_argument("a number is too large");
  }
  void Set(int n, uint64_t id) {
    const bool is_mark = id == (n == 0 ? kEnd : kBegin);
    Check(is_mark || (id >= kNumMarks && id < num_ids_), "the id of a word is wrong");
    last_.words[n] = static_cast<uint32_t>(id);
  }
  static void Check(bool is_good, const char* what) {
    if (!is_good) throw std::invalid_argument(what);
  }

  const int order_;
  const size_t num_ids_;
  Reversed last_;
  int length_ = 1;
};

// The content of one counts file: packed n-grams, and what the ids in them are in the corpus.
struct CountedText {
  CountedText(Memory& memory, int ngram_order) : order(ngram_order), bytes(memory) {}

  // Calls visit(n-gram) for all n-grams, with the ids of the file.
  template <class Visit>
  void ForEach(Visit&& visit) const {
    Spool<uint8_t>::Reader reader(bytes);
    NgramUnpacker unpacker(order, ids.size());
    const auto next = [&] {
      const uint8_t byte = *reader.Peek();
      reader.Pop();
      return byte;
    };
    while (reader.Peek()) visit(unpacker.Read(next));
  }

  int order;
  std::vector<int32_t> ids;  // id in the file -> id as read
  uint64_t num_ngrams = 0;
  Spool<uint8_t> bytes;
};

}  // namespace asr::lm
