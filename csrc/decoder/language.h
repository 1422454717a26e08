// A lexicon and an n-gram model joined by their words: which spellings can follow which history. Neither is
// changed or copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "ngram.h"
#include "tree.h"

namespace asr::decoder {

struct Leaf;  // vocabulary.h

// Immutable; shared by threads.
class Language {
 public:
  // The bytes of tree.bin and lm.ngram belong to the caller and outlive this object. `word_of` maps each word
  // of the n-gram model to a word of the tree, or to 0. Throws std::invalid_argument if the bytes are
  // damaged, or if a word is out of range or occurs twice.
  Language(const void* tree, size_t tree_bytes, const void* ngram, size_t ngram_bytes,
           const std::vector<uint32_t>& word_of);

  const Tree& tree() const { return tree_; }
  const Ngram& ngram() const { return ngram_; }
  // The spellings of a word of the n-gram model.
  const uint32_t* begin(uint32_t word) const { return spelled_.data() + spelled_begin_[word]; }
  const uint32_t* end(uint32_t word) const { return spelled_.data() + spelled_begin_[word + 1]; }

  // The leaves after the empty history, one per spelled word of the n-gram. `make` returns them at the first
  // call; they are kept, since the graph of every request needs them. Any number of threads may call.
  template <class Make>
  const std::vector<Leaf>& AfterEmptyHistory(Make make) const {
    std::call_once(is_made_, [&] { leaves_ = std::make_shared<const std::vector<Leaf>>(make()); });
    return *leaves_;
  }

 private:
  const Tree tree_;
  const Ngram ngram_;
  std::vector<uint32_t> spelled_begin_;  // where each word of the n-gram begins in spelled_; and the end
  std::vector<uint32_t> spelled_;        // spellings of the tree
  mutable std::once_flag is_made_;
  mutable std::shared_ptr<const std::vector<Leaf>> leaves_;  // after the empty history
};

}  // namespace asr::decoder
