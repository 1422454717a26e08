// Random words, n-gram models and slots for tests of the search without Python.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "costs.h"
#include "language.h"
#include "ngram.h"
#include "tree.h"
#include "vocabulary.h"

namespace asr::decoder {

constexpr int kTokens = 6;

// Builds a file whose parts start at multiples of 8 bytes.
class FileImage {
 public:
  template <class T>
  void Add(const std::vector<T>& part) {
    const size_t place = words_.size();
    words_.resize(place + (part.size() * sizeof(T) + 7) / 8);
    std::memcpy(&words_[place], part.data(), part.size() * sizeof(T));
  }
  // The names of the words, the last part of a file: empty lines.
  void AddNames(uint32_t num_words) {
    words_[num_bytes_at_ - 1] = num_words;
    Add(std::vector<char>(num_words, '\n'));
  }
  // The magic number, 4-byte numbers, then the number of bytes of the words' names and of the file.
  void AddHeader(const char* magic, const std::vector<uint32_t>& numbers) {
    words_.resize(1);
    std::memcpy(words_.data(), magic, sizeof(uint64_t));
    Add(numbers);
    words_.resize(words_.size() + 2);
    num_bytes_at_ = words_.size() - 1;
  }
  const void* data() {
    words_[num_bytes_at_] = size();
    return words_.data();
  }
  size_t size() const { return words_.size() * sizeof(uint64_t); }

 private:
  std::vector<uint64_t> words_;
  size_t num_bytes_at_ = 0;
};

// One word per random spelling, with labels from 2 on; spellings share no suffixes.
inline FileImage MakeTree(std::mt19937* random, uint32_t* num_words) {
  std::set<std::vector<uint16_t>> spellings;
  for (int i = 0; i < 60; ++i) {
    std::vector<uint16_t> spelling(1 + (*random)() % 5);
    for (uint16_t& label : spelling) label = static_cast<uint16_t>(2 + (*random)() % (kTokens - 1));
    spellings.insert(spelling);
  }
  std::vector<uint32_t> first = {0}, word, suffix;
  std::vector<uint16_t> labels;
  std::vector<Tree::Suffix> suffixes = {{0, 0}};
  for (const std::vector<uint16_t>& spelling : spellings) {
    const auto length = static_cast<uint32_t>(spelling.size());
    for (uint32_t k = length; k-- > 0;)
      suffixes.push_back({spelling[k], k + 1 == length ? 0 : static_cast<uint32_t>(suffixes.size()) - 1});
    for (uint32_t k = 0; k < length; ++k) suffix.push_back(static_cast<uint32_t>(suffixes.size()) - 1 - k);
    labels.insert(labels.end(), spelling.begin(), spelling.end());
    first.push_back(static_cast<uint32_t>(labels.size()));
    word.push_back(static_cast<uint32_t>(word.size()) + 1);
  }
  *num_words = static_cast<uint32_t>(word.size());
  FileImage image;
  image.AddHeader("asrwords", {1, *num_words, *num_words, first.back(),
                               static_cast<uint32_t>(suffixes.size()), kTokens, 0, 0});
  image.Add(first);
  image.Add(word);
  image.Add(labels);
  image.Add(suffix);
  image.Add(suffixes);
  image.AddNames(*num_words);
  return image;
}

// A bigram model: each word leads to its own history, which lists a few words.
inline FileImage MakeNgram(std::mt19937* random, uint32_t num_words) {
  std::vector<Ngram::State> states;
  std::vector<Ngram::Arc> arcs;
  const auto draw_cost = [random] { return 0.01f * static_cast<float>(1 + (*random)() % 300); };
  for (uint32_t s = 0; s <= num_words; ++s) {
    states.push_back({static_cast<uint32_t>(arcs.size()), 0, draw_cost(), draw_cost()});
    for (uint32_t w = 0; w < num_words; ++w)
      if (s == 0 || (*random)() % 8 == 0) arcs.push_back({w, draw_cost(), w + 1});
  }
  states.push_back({static_cast<uint32_t>(arcs.size()), 0, 0, 0});
  FileImage image;
  const auto num_states = static_cast<uint32_t>(states.size()) - 1;
  image.AddHeader("asrngram", {1, num_states, static_cast<uint32_t>(arcs.size()), num_words, 0, 0});
  image.Add(states);
  image.Add(arcs);
  image.AddNames(num_words);
  return image;
}

struct RandomLanguage {
  explicit RandomLanguage(std::mt19937* random)
      : tree(MakeTree(random, &num_words)), ngram(MakeNgram(random, num_words)), word_of(num_words) {
    for (uint32_t w = 0; w < num_words; ++w) word_of[w] = w + 1;
  }
  Language Join() { return Language(tree.data(), tree.size(), ngram.data(), ngram.size(), word_of); }
  uint32_t num_words;
  FileImage tree, ngram;
  std::vector<uint32_t> word_of;
};

// One word, or another one and then any number of a third.
inline Slot MakeSlot(int64_t word) {
  return {word,
          {{{2, 3, 4}, 100, 1.0f, 0, 1}, {{2, 3}, 101, 2.0f, 0, 2}, {{5}, 102, 0.5f, 2, 2}},
          {kInfinity, 0.0f, 0.3f}};
}

}  // namespace asr::decoder
