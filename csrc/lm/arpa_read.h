// Reads ARPA files into arrays.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "key.h"
#include "vocabulary.h"

namespace asr::lm {

// A fault in the file.
struct ArpaError : std::invalid_argument {
  ArpaError(uint64_t line, const std::string& message) : std::invalid_argument(message), line(line) {}
  uint64_t line;  // 0: the file as a whole
};

// Reads a file piece by piece. The id of a word is its position among the 1-grams; the resulting n-grams are
// sorted by ids. The marks may be spelled as MarkOf knows them, each in one way. Throws ArpaError for the
// faults that asr/lm/arpa.py lists.
class ArpaReader {
 public:
  struct Ngrams {
    std::vector<int32_t> ids;  // (R, n)
    std::vector<float> log10_prob, log10_backoff;
  };

  void Add(std::string_view lines);  // whole lines; lines after \end\ are ignored
  void Finish() const;               // after the last line; throws if the file is truncated
  bool is_done() const { return state_ == State::kDone; }

  std::vector<std::string_view> words() const;  // with marks as `<unk>`, `<s>`, `</s>`
  std::vector<Ngrams>& orders() { return orders_; }

 private:
  enum class State { kBefore, kCounts, kNgrams, kAfterOrder, kDone };

  void AddLine(std::string_view line);
  void AddCount(std::string_view line);
  void AddNgram(std::string_view line);
  float FiniteNumber(std::string_view token) const;
  void AddWord(std::string_view word);
  bool HasMark(std::string_view mark) const { return !Spelling(mark).empty(); }
  std::string_view Spelling(std::string_view mark) const;
  int32_t FindWord(std::string_view word) const;
  void BeginOrder();
  void EndOrder();
  void CheckNgrams(const std::vector<uint32_t>& places) const;
  uint64_t LineOf(uint64_t place) const;
  std::string NextHead() const;
  [[noreturn]] void Fail(const std::string& message) const { throw ArpaError(line_, message); }

  State state_ = State::kBefore;
  uint64_t line_ = 0;               // number of the current line
  int n_ = 0;                       // the current order
  uint64_t first_line_ = 0;         // of the current order
  std::vector<uint64_t> blank_;     // places in the current order before which an empty line was passed over
  std::vector<uint64_t> declared_;  // number of n-grams per order, from \data\ (of the header)
  Vocabulary words_;                // as the file spells them
  std::vector<int32_t> marks_;      // ids of the marks
  std::vector<Ngrams> orders_;
  std::array<int32_t, kMaxOrder> last_ids_{};  // of the previous line
  bool is_sorted_ = true;                      // the n-grams of this order so far are sorted by ids
};

}  // namespace asr::lm
