// The lexicon as a tree without nodes: all spellings, sorted by their labels. A node is a range of spellings
// with a common prefix; its children differ in the next label.
//
// tree.bin, little-endian, version 1 (written by asr/graph/tree_file.py); each part starts at a multiple of 8
// bytes:
//
//   Header
//   uint32  first[num_spellings + 1]   where the labels of each spelling begin
//   uint32  word[num_spellings]        its output label, 1 to num_words
//   uint16  label[num_labels]          input labels (token of the net + 1)
//   uint32  suffix[num_labels]         the number of the suffix that starts at this label
//   Suffix  suffixes[num_suffixes]     each distinct suffix once: its first label, and the rest as a suffix
//   char    words[words_bytes]         names of the output labels 1, 2, ..., one per line
//   float   cost[num_spellings]        optional: the cost of each pronunciation of its word; absent: all 0
//
// Suffix 0 is empty. Where only one word is left, the search follows its suffix; words with the same ending
// share it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asr::decoder {

class Tree {
 public:
  struct Suffix {
    uint32_t label;
    uint32_t next;  // a suffix with a smaller number
  };

  // `data` is aligned to 8 bytes, belongs to the caller and outlives this object. Throws
  // std::invalid_argument, naming the fault, if the bytes are damaged.
  Tree(const void* data, size_t num_bytes);

  uint32_t num_spellings() const { return header_->num_spellings; }
  uint32_t num_words() const { return header_->num_words; }
  int32_t max_label() const { return header_->max_label; }
  int32_t silence() const { return header_->silence; }
  int32_t separator() const { return header_->separator; }
  uint32_t word(uint32_t spelling) const { return word_[spelling]; }
  float cost(uint32_t spelling) const { return cost_ == nullptr ? 0.0f : cost_[spelling]; }
  uint32_t length(uint32_t spelling) const { return first_[spelling + 1] - first_[spelling]; }
  int32_t label(uint32_t spelling, uint32_t place) const { return label_[first_[spelling] + place]; }
  uint32_t suffix(uint32_t spelling, uint32_t place) const { return suffix_[first_[spelling] + place]; }
  const Suffix& suffix(uint32_t number) const { return suffixes_[number]; }
  uint32_t num_suffixes() const { return header_->num_suffixes; }

 private:
  struct Header {
    char magic[8];  // "asrwords"
    uint32_t version;
    uint32_t num_words;
    uint32_t num_spellings;
    uint32_t num_labels;
    uint32_t num_suffixes;
    int32_t max_label;  // the largest input label
    int32_t silence;    // input label that is optional between words, or 0
    int32_t separator;  // input label that is required between words, or 0
    uint64_t words_bytes;
    uint64_t num_bytes;  // of the whole file
  };
  static_assert(sizeof(Header) == 56, "the layout of tree.bin");

  const Header* header_;
  const uint32_t* first_;
  const uint32_t* word_;
  const uint16_t* label_;
  const uint32_t* suffix_;
  const Suffix* suffixes_;
  const float* cost_;
};

}  // namespace asr::decoder
