// A back-off n-gram model as the search walks it: states are histories, arcs the words that are listed after
// them.
//
// lm.ngram, little-endian, version 1 (asr/graph/ngram_file.py writes it), every part at a multiple of 8
// bytes:
//
//   Header
//   State   states[num_states + 1]   the last one only tells where the arcs end
//   Arc     arcs[num_arcs]           by state, then by word
//   char    words[words_bytes]       names of the words 0.. , a line each
//
// State 0 is the empty history. Costs are negative natural logs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asr {

class Ngram {
 public:
  struct State {
    uint32_t arc_begin;
    uint32_t shorter;  // the history that this one backs off to, of a smaller number; of state 0 itself
    float backoff;     // what that costs
    float final_cost;  // of ending here, back-offs counted; +infinity: cannot
  };
  struct Arc {
    uint32_t word;
    float cost;
    uint32_t next;
  };

  // As Tree.
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
    uint32_t start;  // the history of a sentence's first word
    uint32_t reserved;
    uint64_t words_bytes;
    uint64_t num_bytes;  // of the whole model
  };
  static_assert(sizeof(Header) == 48 && sizeof(State) == 16 && sizeof(Arc) == 12, "the layout of lm.ngram");

  const Header* header_;
  const State* states_;
  const Arc* arcs_;
};

}  // namespace asr
