// Writes models as ARPA files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "counts.h"

namespace asr::lm {

// Writes `x` like printf's %.7g, at most 16 bytes; returns the end.
char* FormatNumber(float x, char* out);

class ArpaWriter : public Output {
 public:
  // `words`: by id; they outlive this object. `sizes`: number of n-grams per order.
  ArpaWriter(const std::vector<std::string_view>& words, const std::vector<uint64_t>& sizes, BlockSink sink);
  void BeginOrder(int n, uint64_t size) override;
  void Add(const uint32_t* ids, int n, float log10_prob, float log10_backoff) override;
  void Finish();

 private:
  static constexpr size_t kBlock = 1 << 20;
  void Flush();

  const std::vector<std::string_view>& words_;
  const int order_;
  const BlockSink sink_;
  std::string block_;
};

}  // namespace asr::lm
