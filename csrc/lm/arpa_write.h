// Models as ARPA files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "counts.h"

namespace asr::lm {

// Writes `x` as printf's %.7g does; returns the end. At most 16 bytes.
char* FormatNumber(float x, char* out);

class ArpaWriter : public Output {
 public:
  using Sink = std::function<void(std::string_view)>;  // takes the file's bytes, block by block

  // `words` by id; they must last as long as this. `sizes` of all orders.
  ArpaWriter(const std::vector<std::string_view>& words, const std::vector<uint64_t>& sizes, Sink sink);
  void BeginOrder(int n, uint64_t size) override;
  void Add(const uint32_t* ids, int n, float log10_prob, float log10_backoff) override;
  void Finish();

 private:
  static constexpr size_t kBlock = 1 << 20;
  void Flush();

  const std::vector<std::string_view>& words_;
  const int order_;
  const Sink sink_;
  std::string block_;
};

}  // namespace asr::lm
