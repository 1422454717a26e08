// ARPA files as arrays.
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

// A fault in the file. Line 0 means the file as a whole.
struct ArpaError : std::runtime_error {
  ArpaError(uint64_t line, const std::string& message) : std::runtime_error(message), line(line) {}
  uint64_t line;
};

// Takes a file piece by piece. Ids are the places of the words among the 1-grams; n-grams leave sorted by
// ids. Refuses what asr/lm/arpa.py says with an ArpaError.
class ArpaReader {
 public:
  struct Ngrams {
    std::vector<int32_t> ids;  // (R, n)
    std::vector<float> log10_prob, log10_backoff;
  };

  void Add(std::string_view lines);  // whole lines; what follows \end\ is not looked at
  void Finish() const;               // no more lines: refuses a file that is cut short
  bool is_done() const { return state_ == State::kDone; }

  const std::vector<std::string_view>& words() const { return words_.words(); }
  std::vector<Ngrams>& orders() { return orders_; }

 private:
  enum class State { kBefore, kCounts, kNgrams, kBehind, kDone };

  void AddLine(std::string_view line);
  void AddCount(std::string_view line);
  void AddNgram(std::string_view line);
  float FiniteNumber(std::string_view token) const;
  void AddWord(std::string_view word);
  int32_t FindWord(std::string_view word) const;
  void BeginOrder();
  void EndOrder();
  void CheckNgrams(const std::vector<uint32_t>& places) const;
  std::string NextHead() const;
  [[noreturn]] void Fail(const std::string& message) const { throw ArpaError(line_, message); }

  State state_ = State::kBefore;
  uint64_t line_ = 0;                // number of the line being read
  int n_ = 0;                        // the order being read
  uint64_t first_line_ = 0;          // of this order
  std::vector<uint64_t> announced_;  // n-grams of each order
  Vocabulary words_;
  std::vector<Ngrams> orders_;
  std::array<int32_t, kMaxOrder> last_ids_{};  // of the line before
  bool is_sorted_ = true;                      // this order so far
};

}  // namespace asr::lm
