// Which words can follow a history, as the leaves of a tree of spellings: the words of a language, and the
// words that one request adds to it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "language.h"

namespace asr::decoder {

// A place in the language model that a request fills: a class such as <name>, or one slot for all new words.
// What fills it is an automaton over words: a path from state 0 to a final state stands in the slot.
struct Slot {
  struct Member {
    std::vector<int32_t> labels;  // input labels; not empty
    int32_t word;                 // output label
    float cost;                   // within the slot
    uint32_t from, to;            // states; none leads back to state 0
  };
  int64_t word = -1;  // the n-gram word that stands for the slot; -1: the slot follows the empty history
  std::vector<Member> members;
  std::vector<float> final_costs;  // one per state; +infinity: not final. State 0 is not final.
};

// A spelled word that may come next.
struct Leaf {
  uint32_t spelling;
  float cost;
  uint32_t next;  // the history after it; in slots the place after it, or kSlotEnd
  double mass;    // sum of exp(-cost) of the leaves before it
};

// Leaves sorted by spelling, so that those with a common prefix are adjacent; one more at the end for its
// mass.
using Leaves = std::vector<Leaf>;

// The cost of the leaves [begin, end) together: the negative log of the sum of their probabilities.
float CostOf(const Leaves& leaves, uint32_t begin, uint32_t end);

class Vocabulary {
 public:
  static constexpr uint32_t kSlotEnd = 0xFFFFFFFFu;
  struct Opening {
    uint32_t place;  // where the slot begins
    float cost;
    uint32_t next;  // history after the slot
  };
  // A state of a slot's automaton. Places are numbered over all slots.
  struct Place {
    Leaves leaves;
    float final_cost;  // of leaving the slot here; +infinity: not possible, or paid by the words before
    bool is_first;
  };

  // `language` outlives this object. Throws std::invalid_argument for a slot with an invalid word, label,
  // cost or state, and for one that may stay empty.
  Vocabulary(const Language& language, const std::vector<Slot>& slots);

  const Ngram& ngram() const { return language_.ngram(); }
  const Tree& tree() const { return tree_; }
  int32_t max_ilabel() const { return max_ilabel_; }
  int32_t max_olabel() const { return max_olabel_; }

  Leaves AfterHistory(uint32_t history) const;
  // The same of history 0, shared by all vocabularies of the language.
  const Leaves& AfterEmptyHistory() const {
    return language_.AfterEmptyHistory([this] { return AfterHistory(0); });
  }
  const Place& place(uint32_t place) const { return places_[place]; }
  // The slots that can follow; their costs include that of their leaves together.
  std::vector<Opening> Openings(uint32_t history) const;

  // Spellings are numbered from those of the tree to those of the members of slots; so are suffixes.
  uint32_t length(uint32_t spelling) const {
    return IsOwn(spelling) ? own_first_[spelling - num_shared_ + 1] - own_first_[spelling - num_shared_]
                           : tree_.length(spelling);
  }
  int32_t label(uint32_t spelling, uint32_t place) const {
    return IsOwn(spelling) ? own_suffixes_[OwnPlace(spelling, place)].label : tree_.label(spelling, place);
  }
  uint32_t word(uint32_t spelling) const {
    return IsOwn(spelling) ? own_words_[spelling - num_shared_] : tree_.word(spelling);
  }
  uint32_t suffix(uint32_t spelling, uint32_t place) const {
    return IsOwn(spelling) ? tree_.num_suffixes() + OwnPlace(spelling, place) : tree_.suffix(spelling, place);
  }
  Tree::Suffix suffix(uint32_t number) const {
    return number < tree_.num_suffixes() ? tree_.suffix(number)
                                         : own_suffixes_[number - tree_.num_suffixes()];
  }

 private:
  bool IsOwn(uint32_t spelling) const { return spelling >= num_shared_; }
  uint32_t OwnPlace(uint32_t spelling, uint32_t place) const {
    return own_first_[spelling - num_shared_] + place;
  }
  void AddSlot(const Slot& slot);
  void CheckSlot(const Slot& slot) const;
  void AddSpelling(const Slot::Member& member);

  const Language& language_;
  const Tree& tree_;
  const uint32_t num_shared_;  // number of spellings of the tree
  int32_t max_ilabel_, max_olabel_;
  std::map<uint32_t, uint32_t> slot_of_;  // where the slot begins, by word of the n-gram
  std::vector<Opening> open_;             // slots after the empty history
  std::vector<Place> places_;
  // The spellings of the members of slots:
  std::vector<uint32_t> own_first_;         // where each begins in own_suffixes_; and the end
  std::vector<uint32_t> own_words_;         // their output labels
  std::vector<Tree::Suffix> own_suffixes_;  // one per label
};

}  // namespace asr::decoder
