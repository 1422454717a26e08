// A text as one sequence of word ids, with n-grams of other texts that were counted elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "counted.h"
#include "memory.h"
#include "spool.h"
#include "vocabulary.h"

namespace asr::lm {

// Which words of the text the model has: those that meet all conditions, or the listed ones.
struct Selection {
  std::optional<std::vector<std::string>> words;  // the listed words, whether or not they occur in the text
  uint64_t min_count = 1;                         // words that occur at least this often
  uint64_t size = 0;                              // this many of the most frequent words; 0: no limit
  double coverage = 1.0;                          // the most frequent words that cover this share of the text
};

class Corpus {
 public:
  Corpus(size_t memory_bytes, std::string folder);

  // Adds lines with one sentence each, up to the first invalid line: one that is not UTF-8 or contains NUL, a
  // mark or `<eps>`. Returns the number of lines added. The line break after the last line is optional.
  size_t Add(std::string_view lines);

  // Adds the content of a counts file: BeginCounts, then lines with one word each in code point order, then
  // packed n-grams (counted.h) in blocks. Throw std::invalid_argument for anything else.
  void BeginCounts(int order);
  void AddCountedWords(std::string_view lines);
  void AddCountedNgrams(std::string_view block);

  // Chooses the words of the model and their ids: first the marks, then the words in code point order. Slots
  // of the text, such as <name>, are always among them. Other words become <unk>.
  void Select(const Selection& selection);

  Memory& memory() { return memory_; }
  // Hands over the text, once: ids as read, with `<s>` and `</s>` around each sentence, and what was counted
  // elsewhere. new_ids() maps them to ids of the model.
  struct Text {
    Spool<int32_t> tokens;
    std::vector<CountedText> counted;
  };
  Text Take();
  const std::vector<int32_t>& new_ids() const { return new_ids_; }       // id as read -> id in the model
  const std::vector<std::string_view>& words() const { return words_; }  // of the model, by id
  uint64_t num_sentences() const { return counts_[kBegin]; }
  uint64_t num_words() const { return num_words_; }  // running words
  uint64_t num_unknown() const { return num_unknown_; }
  size_t num_seen() const { return vocabulary_.size() - kNumMarks; }  // distinct words of the text
  // Length of the longest sentence in words, marks included; what was counted elsewhere tells it up to its
  // order.
  size_t longest() const { return longest_; }
  uint64_t num_ngrams()
      const;  // n-grams of the highest order to be sorted: running ones, or counted elsewhere

 private:
  bool AddLine(const char* begin, const char* end);
  bool Split(const char* begin, const char* end);
  std::vector<int32_t> MostFrequent(const Selection& selection) const;

  Memory memory_;
  Vocabulary vocabulary_;
  std::vector<uint64_t> counts_;  // by id as read
  std::vector<int32_t> line_;     // the current sentence
  Spool<int32_t> tokens_;
  std::vector<CountedText> counted_;
  std::optional<NgramUnpacker> unpacker_;  // of the last of them
  bool is_taken_ = false;                  // tokens_ and counted_ have been handed over
  uint64_t num_words_ = 0;
  size_t longest_ = 0;
  std::vector<int32_t> new_ids_;
  std::vector<std::string_view> words_;
  std::vector<std::string> listed_;  // words_ refers to these and to the vocabulary
  uint64_t num_unknown_ = 0;
};

}  // namespace asr::lm
