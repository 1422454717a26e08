#include "arpa_read.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>

#include "utf8.h"

namespace asr {

namespace {

bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string_view Strip(std::string_view s) {
  while (!s.empty() && IsBlank(s.front())) s.remove_prefix(1);
  while (!s.empty() && IsBlank(s.back())) s.remove_suffix(1);
  return s;
}

// The fields of a line; one more than `most` where there are more.
template <size_t kMost>
int SplitFields(std::string_view line, std::array<std::string_view, kMost>& fields) {
  int size = 0;
  const char *at = line.data(), *const end = at + line.size();
  while (size < static_cast<int>(kMost)) {
    while (at < end && IsBlank(*at)) ++at;
    if (at == end) break;
    const char* begin = at;
    while (at < end && !IsBlank(*at)) ++at;
    fields[size++] = {begin, static_cast<size_t>(at - begin)};
  }
  return size;
}

std::string Quoted(std::string_view token) { return "'" + std::string(token.substr(0, 40)) + "'"; }

// A finite number, or NaN.
double Number(std::string_view token) {
  if (!token.empty() && token[0] == '+' && token.substr(0, 2) != "+-") token.remove_prefix(1);
  double value = NAN;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (end != token.data() + token.size() || error == std::errc::invalid_argument) return NAN;
  if (error == std::errc::result_out_of_range) value = std::strtod(std::string(token).c_str(), nullptr);
  return std::isfinite(value) ? value : NAN;
}

bool IsUtf8(std::string_view word) {
  const auto *at = reinterpret_cast<const unsigned char*>(word.data()), *const end = at + word.size();
  while (at < end) {
    const int length = *at < 0x80 ? 1 : DecodeUtf8(at, end).length;
    if (length == 0) return false;
    at += length;
  }
  return true;
}

// Digits as a number; false if there are none or it is too large.
bool TakeNumber(std::string_view& s, uint64_t& number) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), number);
  if (error != std::errc()) return false;
  s.remove_prefix(end - s.data());
  return true;
}

std::string Grams(int n) { return std::to_string(n) + "-grams"; }

template <class T>
void Permute(std::vector<T>& values, const std::vector<size_t>& from, size_t width = 1) {
  std::vector<T> sorted(values.size());
  for (size_t i = 0; i < from.size(); ++i)
    std::copy_n(values.begin() + from[i] * width, width, sorted.begin() + i * width);
  values.swap(sorted);
}

}  // namespace

void ArpaReader::Add(std::string_view lines) {
  const char *at = lines.data(), *const end = at + lines.size();
  while (at < end && !is_done()) {
    const char* line_end = static_cast<const char*>(std::memchr(at, '\n', end - at));
    if (!line_end) line_end = end;
    ++line_;
    AddLine({at, static_cast<size_t>(line_end - at)});
    at = line_end + 1;
  }
}

void ArpaReader::Finish() const {
  switch (state_) {
    case State::kBefore:
      throw ArpaError(0, "no line '\\data\\'; this is not an ARPA file");
    case State::kCounts:
      Fail("expected 'ngram " + std::to_string(announced_.size() + 1) + "=COUNT' or '\\1-grams:'");
    case State::kNgrams:
      Fail("the file ends among the " + Grams(n_) + "; it is cut short");
    case State::kBehind:
      Fail("expected '" + NextHead() + "' behind " + std::to_string(announced_[n_ - 1]) + " " + Grams(n_) +
           ", the file ends; it is cut short");
    case State::kDone:
      break;
  }
}

void ArpaReader::AddLine(std::string_view line) {
  if (state_ == State::kNgrams) return AddNgram(line);
  line = Strip(line);
  if (line.empty()) return;
  if (state_ == State::kBefore) {
    if (line == "\\data\\") state_ = State::kCounts;
  } else if (state_ == State::kCounts) {
    AddCount(line);
  } else {
    if (line != NextHead())
      Fail("expected '" + NextHead() + "' behind " + std::to_string(announced_[n_ - 1]) + " " + Grams(n_) +
           ", found " + Quoted(line) + "; correct the count in \\data\\");
    if (n_ == static_cast<int>(announced_.size()))
      state_ = State::kDone;
    else
      BeginOrder();
  }
}

std::string ArpaReader::NextHead() const {
  return n_ < static_cast<int>(announced_.size()) ? "\\" + Grams(n_ + 1) + ":" : "\\end\\";
}

// "ngram N=COUNT", or the head of the 1-grams.
void ArpaReader::AddCount(std::string_view line) {
  if (line == "\\1-grams:") {
    if (announced_.empty() || announced_.size() > kMaxOrder)
      Fail("\\data\\ announces " + std::to_string(announced_.size()) + " orders; 1 to " +
           std::to_string(kMaxOrder) + " can be read");
    return BeginOrder();
  }
  uint64_t n = 0, count = 0;
  bool is_good = line.substr(0, 5) == "ngram" && line.size() > 5 && IsBlank(line[5]);
  line = Strip(line.substr(std::min<size_t>(5, line.size())));
  is_good = is_good && TakeNumber(line, n) && n == announced_.size() + 1;
  line = Strip(line);
  is_good = is_good && line.substr(0, 1) == "=";
  line = Strip(line.substr(std::min<size_t>(1, line.size())));
  if (!is_good || !TakeNumber(line, count) || !line.empty())
    Fail("expected 'ngram " + std::to_string(announced_.size() + 1) + "=COUNT' or '\\1-grams:'");
  announced_.push_back(count);
}

void ArpaReader::BeginOrder() {
  ++n_;
  first_line_ = line_ + 1;
  orders_.emplace_back();
  keys_.emplace_back();
  // A wrong count in the file must not claim memory; beyond this the arrays double.
  const size_t size = std::min<uint64_t>(announced_[n_ - 1], 1 << 24);
  orders_.back().ids.reserve(size * n_);
  orders_.back().log10_prob.reserve(size);
  orders_.back().log10_backoff.reserve(size);
  keys_.back().reserve(size);
  last_ids_.fill(-1);
  state_ = State::kNgrams;
  if (announced_[n_ - 1] == 0) EndOrder();
}

void ArpaReader::AddNgram(std::string_view line) {
  const bool is_highest = n_ == static_cast<int>(announced_.size());
  std::array<std::string_view, kMaxOrder + 3> fields;
  const int num_fields = SplitFields(line, fields);
  if (num_fields == 0 || (num_fields == 1 && fields[0][0] == '\\'))
    Fail("the " + Grams(n_) + " end here, before the number that \\data\\ announces; correct it");
  if (num_fields != n_ + 1 && num_fields != n_ + 2)
    Fail("expected a log10 probability, " + std::to_string(n_) + " words" +
         (is_highest ? "" : " and a log10 back-off"));
  const double prob = Number(fields[0]);
  const double backoff = num_fields == n_ + 2 ? Number(fields[n_ + 1]) : 0.0;
  if (std::isnan(prob) || std::isnan(backoff))
    Fail(Quoted(fields[std::isnan(prob) ? 0 : n_ + 1]) + " is not a finite number");
  if (prob > 0) Fail("the log10 probability is positive");
  if (is_highest && backoff != 0) Fail("an n-gram of the highest order has no back-off");

  Ngrams& ngrams = orders_.back();
  if (n_ == 1) AddWord(fields[1]);
  std::array<int32_t, kMaxOrder> ids{};
  for (int i = 0; i < n_; ++i) {
    // Neighbours have most words in common.
    const bool is_same = last_ids_[i] >= 0 && words_.Word(last_ids_[i]) == fields[i + 1];
    ids[i] = is_same ? last_ids_[i] : FindWord(fields[i + 1]);
  }
  const int64_t history = FindHistory(ids.data());
  keys_.back().push_back(history * static_cast<int64_t>(words_.size()) + ids[n_ - 1]);
  ngrams.ids.insert(ngrams.ids.end(), ids.begin(), ids.begin() + n_);
  ngrams.log10_prob.push_back(static_cast<float>(prob));
  ngrams.log10_backoff.push_back(static_cast<float>(backoff));
  last_ids_ = ids;
  if (ngrams.log10_prob.size() == announced_[n_ - 1]) EndOrder();
}

void ArpaReader::AddWord(std::string_view word) {
  if (words_.Find(word) != Vocabulary::kNone)
    Fail("the word stands twice among the 1-grams; keep one of them");
  if (!IsUtf8(word)) Fail("the word is not UTF-8; convert the file, for instance with iconv");
  words_.FindOrAdd(word);
}

int32_t ArpaReader::FindWord(std::string_view word) const {
  const int32_t id = words_.Find(word);
  if (id == Vocabulary::kNone) Fail("word " + Quoted(word) + " is not among the 1-grams");
  return id;
}

// Row of all words but the last within the order below; rows_[k] is that of the first k + 1 words.
int64_t ArpaReader::FindHistory(const int32_t* ids) {
  if (n_ == 1) return 0;
  int k = 0;
  while (k < n_ - 1 && ids[k] == last_ids_[k]) ++k;
  for (; k < n_ - 1; ++k) {
    const int64_t row =
        k == 0 ? ids[0] : FindRow(k, rows_[k - 1] * static_cast<int64_t>(words_.size()) + ids[k]);
    if (row < 0)
      Fail(
          "the n-gram's history is not among the shorter n-grams; rebuild or prune the model with a tool "
          "that keeps it");
    rows_[k] = row;
  }
  return rows_[n_ - 2];
}

// Most files are sorted, so the row is likely to be close behind the one found last.
int64_t ArpaReader::FindRow(int order, int64_t key) {
  const std::vector<int64_t>& keys = keys_[order];
  size_t begin = std::min<size_t>(rows_[order], keys.size()), end = keys.size();
  if (begin < end && keys[begin] <= key) {
    for (size_t step = 1; begin + step < end; step *= 2)
      if (keys[begin + step] > key)
        end = begin + step;
      else
        begin += step;
  } else {
    begin = 0;
  }
  const auto found = std::lower_bound(keys.begin() + begin, keys.begin() + end, key);
  return found != keys.begin() + end && *found == key ? found - keys.begin() : -1;
}

void ArpaReader::EndOrder() {
  for (const char* mark : {"<s>", "</s>"})
    if (words_.Find(mark) == Vocabulary::kNone)
      Fail("no '" + std::string(mark) + "' among the 1-grams above; estimate the model on whole sentences");
  const std::vector<int64_t>& keys = keys_.back();
  if (std::adjacent_find(keys.begin(), keys.end(), std::greater_equal<>()) != keys.end()) Sort();
  rows_.fill(0);
  state_ = State::kBehind;
}

void ArpaReader::Sort() {
  std::vector<int64_t>& keys = keys_.back();
  std::vector<size_t> from(keys.size());
  std::iota(from.begin(), from.end(), size_t{0});
  std::stable_sort(from.begin(), from.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  uint64_t twice = keys.size();
  for (size_t i = 1; i < from.size(); ++i)
    if (keys[from[i]] == keys[from[i - 1]]) twice = std::min<uint64_t>(twice, from[i]);
  if (twice < keys.size()) throw ArpaError(first_line_ + twice, "the n-gram stands twice; keep one of them");
  Permute(keys, from);
  Permute(orders_.back().ids, from, n_);
  Permute(orders_.back().log10_prob, from);
  Permute(orders_.back().log10_backoff, from);
}

}  // namespace asr
