#include "language.h"

#include <numeric>
#include <stdexcept>

namespace asr::decoder {

Language::Language(const void* tree, size_t tree_bytes, const void* ngram, size_t ngram_bytes,
                   const std::vector<uint32_t>& word_of)
    : tree_(tree, tree_bytes), ngram_(ngram, ngram_bytes) {
  if (word_of.size() != ngram_.num_words())
    throw std::invalid_argument("word_of needs one entry per word of the n-gram model");
  std::vector<uint32_t> first(size_t{tree_.num_words()} + 2, 0);  // the spellings of each word of the tree
  for (uint32_t i = 0; i < tree_.num_spellings(); ++i) ++first[tree_.word(i) + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<uint32_t> by_word(tree_.num_spellings()), place(first);
  for (uint32_t i = 0; i < tree_.num_spellings(); ++i) by_word[place[tree_.word(i)]++] = i;
  spelled_begin_.push_back(0);
  std::vector<bool> is_taken(size_t{tree_.num_words()} + 1, false);
  for (const uint32_t word : word_of) {
    if (word > tree_.num_words())
      throw std::invalid_argument("word_of has a word that the lexicon does not have");
    // A word under two numbers would be spelled twice after every history.
    if (word > 0 && is_taken[word])
      throw std::invalid_argument("two words of the n-gram model are the same word of the lexicon");
    is_taken[word] = true;
    spelled_.insert(spelled_.end(), by_word.begin() + first[word], by_word.begin() + first[word + 1]);
    spelled_begin_.push_back(static_cast<uint32_t>(spelled_.size()));
  }
}

}  // namespace asr::decoder
