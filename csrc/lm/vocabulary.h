// Words and their ids, in order of first occurrence.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace asr::lm {

enum : int32_t { kUnknown, kBegin, kEnd, kNumMarks };  // ids of <unk> <s> </s>

constexpr std::string_view kEpsilon = "<eps>";  // the symbol for "no word" in graphs

// The mark that a word spells: `<unk>`, `<s>` and `</s>` in any case, and `[unk]`, which is `<unk>`.
// Otherwise empty. As `mark_of` of asr/words.py.
inline std::string_view MarkOf(std::string_view word) {
  if (word.size() < 3 || word.size() > 5 || (word[0] != '<' && word[0] != '[')) return {};
  char lower[5];
  for (size_t i = 0; i < word.size(); ++i)
    lower[i] = 'A' <= word[i] && word[i] <= 'Z' ? static_cast<char>(word[i] - 'A' + 'a') : word[i];
  const std::string_view spelled(lower, word.size());
  if (spelled == "[unk]") return "<unk>";
  for (const std::string_view mark : {"<unk>", "<s>", "</s>"})
    if (spelled == mark) return mark;
  return {};
}

class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;

  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;
  Vocabulary() : slots_(1 << 12, Slot{0, kNone}) {}

  size_t size() const { return words_.size(); }
  std::string_view Word(int32_t id) const { return words_[id]; }
  const std::vector<std::string_view>& words() const { return words_; }

  // The word's id, or kNone.
  int32_t Find(std::string_view word) const { return slots_[Probe(word, Hash(word))].id; }

  // The word's id; a new one if the word is new.
  int32_t FindOrAdd(std::string_view word) {
    const uint32_t hash = Hash(word);
    const size_t slot = Probe(word, hash);
    if (slots_[slot].id != kNone) return slots_[slot].id;
    const int32_t id = static_cast<int32_t>(words_.size());
    slots_[slot] = {hash, id};
    words_.push_back(Keep(word));
    if (2 * words_.size() > slots_.size()) Rehash();
    return id;
  }

 private:
  struct Slot {
    uint32_t hash;
    int32_t id;
  };
  static constexpr size_t kBlock = 1 << 16;

  static uint32_t Hash(std::string_view word) {
    uint64_t hash = word.size();
    const char* at = word.data();
    size_t left = word.size();
    for (; left >= 8; at += 8, left -= 8) hash = Mix(hash, at, 8);
    return (left ? Mix(hash, at, left) : hash) >> 32;
  }
  static uint64_t Mix(uint64_t hash, const char* bytes, size_t size) {
    uint64_t part = 0;
    std::memcpy(&part, bytes, size);
    hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
  }
  size_t Probe(std::string_view word, uint32_t hash) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = hash & mask;
    while (slots_[slot].id != kNone && (slots_[slot].hash != hash || words_[slots_[slot].id] != word))
      slot = (slot + 1) & mask;
    return slot;
  }
  void Rehash() {
    std::vector<Slot> old(2 * slots_.size(), Slot{0, kNone});
    old.swap(slots_);
    for (const Slot& slot : old) {
      size_t at = slot.hash & (slots_.size() - 1);
      if (slot.id == kNone) continue;
      while (slots_[at].id != kNone) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
  }
  // A copy of the word that lives as long as this object.
  std::string_view Keep(std::string_view word) {
    if (room_ < word.size()) {
      room_ = std::max(kBlock, word.size());
      blocks_.emplace_back(new char[room_]);
      free_ = blocks_.back().get();
    }
    std::memcpy(free_, word.data(), word.size());
    const std::string_view kept(free_, word.size());
    free_ += word.size();
    room_ -= word.size();
    return kept;
  }

  std::vector<Slot> slots_;  // open addressing; size is a power of two, at most half full
  std::vector<std::string_view> words_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* free_ = nullptr;
  size_t room_ = 0;
};

}  // namespace asr::lm
