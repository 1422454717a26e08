#include "arpa_write.h"

#include <charconv>
#include <cmath>
#include <utility>

namespace asr::lm {

namespace {

constexpr double kPowers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10};

// Writes value / 10^decimals in decimal notation, without trailing zeros; returns the end.
char* FormatFixed(uint64_t value, int decimals, char* out) {
  for (; decimals > 0 && value % 10 == 0; --decimals) value /= 10;
  char digits[24];
  int size = 0;
  for (; value > 0 || size <= decimals; value /= 10) digits[size++] = static_cast<char>('0' + value % 10);
  while (size > 0) {
    if (size == decimals) *out++ = '.';
    *out++ = digits[--size];
  }
  return out;
}

}  // namespace

// Between 1e-4 and 1e6, a float times the power of ten that leaves 7 digits before the point is exact in
// double (24 bits times at most 24 bits), so rounding it to an integer rounds only once, as printf does.
char* FormatNumber(float x, char* out) {
  const double size = std::abs(static_cast<double>(x));
  if (!(size >= 1e-4 && size < 1e6))
    return std::to_chars(out, out + 16, static_cast<double>(x), std::chars_format::general, 7).ptr;
  int decimals = 6;
  for (double bound = 10.0; size >= bound; bound *= 10.0) --decimals;
  for (; size * kPowers[decimals] < 1e6; ++decimals) {
  }
  if (x < 0) *out++ = '-';
  return FormatFixed(static_cast<uint64_t>(std::nearbyint(size * kPowers[decimals])), decimals, out);
}

ArpaWriter::ArpaWriter(const std::vector<std::string_view>& words, const std::vector<uint64_t>& sizes,
                       BlockSink sink)
    : words_(words), order_(static_cast<int>(sizes.size())), sink_(std::move(sink)) {
  block_ = "\\data\\\n";
  for (size_t n = 1; n <= sizes.size(); ++n)
    block_ += "ngram " + std::to_string(n) + "=" + std::to_string(sizes[n - 1]) + "\n";
}

void ArpaWriter::BeginOrder(int n, uint64_t) { block_ += "\n\\" + std::to_string(n) + "-grams:\n"; }

void ArpaWriter::Add(const uint32_t* ids, int n, float log10_prob, float log10_backoff) {
  char number[16];
  block_.append(number, FormatNumber(log10_prob, number));
  for (int i = 0; i < n; ++i) {
    block_ += i == 0 ? '\t' : ' ';
    block_ += words_[ids[i]];
  }
  if (n < order_) {
    block_ += '\t';
    block_.append(number, FormatNumber(log10_backoff, number));
  }
  block_ += '\n';
  if (block_.size() >= kBlock) Flush();
}

void ArpaWriter::Finish() {
  block_ += "\n\\end\\\n";
  Flush();
}

void ArpaWriter::Flush() {
  sink_(block_);
  block_.clear();
}

}  // namespace asr::lm
