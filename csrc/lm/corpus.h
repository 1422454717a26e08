// Text as one sequence of word ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memory.h"
#include "spool.h"
#include "vocabulary.h"

namespace asr::lm {

enum : int32_t { kUnknown, kBegin, kEnd, kNumMarks };  // ids of <unk> <s> </s>

// Which words of the text the model has. What is set must hold all at once.
struct Selection {
  std::optional<std::vector<std::string>> words;  // these, seen or not
  uint64_t min_count = 1;                         // seen at least so often
  uint64_t size = 0;                              // the commonest; 0: no limit
  double coverage = 1.0;  // the commonest that make up this share of the running words
};

class Corpus {
 public:
  Corpus(size_t memory_bytes, std::string folder);

  // Takes lines, a sentence each, up to the first that is at fault: that is not UTF-8, or holds NUL or a
  // mark or `<eps>`. Returns the number of lines taken. The last line may lack its line end.
  size_t Add(std::string_view lines);

  // Fixes the words of the model and their ids: the marks, then words in code point order; others become
  // <unk>.
  void Select(const Selection& selection);

  Memory& memory() { return memory_; }
  // The text, handed over, which works once: ids as it was read, `<s>` and `</s>` around each sentence;
  // new_ids() renumbers them.
  Spool<int32_t> TakeTokens();
  const std::vector<int32_t>& new_ids() const { return new_ids_; }       // id as read -> id in the model
  const std::vector<std::string_view>& words() const { return words_; }  // of the model, by id
  uint64_t num_sentences() const { return counts_[kBegin]; }
  uint64_t num_words() const { return num_words_; }  // running words
  uint64_t num_unknown() const { return num_unknown_; }
  size_t num_seen() const { return vocabulary_.size() - kNumMarks; }  // different words of the text
  size_t longest() const { return longest_; }  // tokens of the longest sentence, with its marks

 private:
  bool AddLine(const char* begin, const char* end);
  bool Split(const char* begin, const char* end);
  std::vector<int32_t> Commonest(const Selection& selection) const;

  Memory memory_;
  Vocabulary vocabulary_;
  std::vector<uint64_t> counts_;  // by id as read
  std::vector<int32_t> line_;     // the sentence being read
  Spool<int32_t> tokens_;
  bool is_taken_ = false;  // tokens_
  uint64_t num_words_ = 0;
  size_t longest_ = 0;
  std::vector<int32_t> new_ids_;
  std::vector<std::string_view> words_;
  std::vector<std::string> listed_;  // what words_ may refer to beside the vocabulary
  uint64_t num_unknown_ = 0;
};

}  // namespace asr::lm
