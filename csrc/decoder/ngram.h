// A back-off n-gram model as the search walks it: the states are histories, the arcs the words listed after
// them.
//
// lm.ngram, little-endian, version 1 (written by asr/graph/ngram_file.py); each part starts at a multiple of
// 8 bytes:
//
//   Header
//   State   states[num_states + 1]   the last one only holds the end of the arcs
//   Arc     arcs[num_arcs]           by state, then by word
//   char    words[words_bytes]       names of the words 0, 1, ..., one per line
//
// State 0 is the empty history. Costs are negative natural logs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asr::decoder {

class Ngram {
 public:
  struct State {
    uint32_t arc_begin;
    uint32_t shorter;  // the history that this one backs off to, with a smaller number; 0 for state 0
    float backoff;     // cost of backing off
    float final_cost;  // cost of ending here, back-offs included; +infinity: not a final state
  };
  struct Arc {
    uint32_t word;
    float cost;
    uint32_t next;  // state
  };

  // `data` is aligned to 8 bytes, belongs to the caller and outlives this object. Throws
  // std::invalid_argument, naming the fault, if the bytes are damaged.
  Ngram(const void* data, size_t num_bytes);

  uint32_t num_states() const { return header_->num_states; }
  uint32_t num_words() const { return header_->num_words; }
  uint32_t start() const { return header_->start; }
  const State& state(uint32_t s) const { return states_[s]; }
  const Arc* begin(uint32_t s) const { return arcs_ + states_[s].arc_begin; }
  const Arc* end(uint32_t s) const { return arcs_ + states_[s + 1].arc_begin; }

 private:
  struct Header {
    char magic[8];  // "asrngram"
    uint32_t version;
    uint32_t num_states;
    uint32_t num_arcs;
    uint32_t num_words;
    uint32_t start;  // the history at the start of a sentence
    uint32_t reserved;
    uint64_t words_bytes;
    uint64_t num_bytes;  // of the whole file
  };
  static_assert(sizeof(Header) == 48 && sizeof(State) == 16 && sizeof(Arc) == 12, "the layout of lm.ngram");

  const Header* header_;
  const State* states_;
  const Arc* arcs_;
};

}  // namespace asr::decoder
