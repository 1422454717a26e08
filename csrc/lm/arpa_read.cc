#include "arpa_read.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "utf8.h"

namespace asr::lm {

namespace {

constexpr std::string_view kBom = "\xef\xbb\xbf";
constexpr float kLogZero = -99.0f;  // log10 of 0 in ARPA files; "-inf" means the same

bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string_view Strip(std::string_view s) {
  while (!s.empty() && IsBlank(s.front())) s.remove_prefix(1);
  while (!s.empty() && IsBlank(s.back())) s.remove_suffix(1);
  return s;
}

// Splits a line into fields, at most kMax of them; returns their number.
template <size_t kMax>
int SplitFields(std::string_view line, std::array<std::string_view, kMax>& fields) {
  int size = 0;
  const char *at = line.data(), *const end = at + line.size();
  while (size < static_cast<int>(kMax)) {
    while (at < end && IsBlank(*at)) ++at;
    if (at == end) break;
    const char* begin = at;
    while (at < end && !IsBlank(*at)) ++at;
    fields[size++] = {begin, static_cast<size_t>(at - begin)};
  }
  return size;
}

std::string Quoted(std::string_view token) { return "'" + std::string(token.substr(0, 40)) + "'"; }

// A number as float32; infinite if it is out of range, NaN if the token is not a number. Independent of the
// locale.
float ParseNumber(std::string_view token) {
  if (!token.empty() && token[0] == '+' && token.substr(0, 2) != "+-") token.remove_prefix(1);
  const char* const token_end = token.data() + token.size();
  float value = NAN;
  const auto [end, error] = std::from_chars(token.data(), token_end, value);
  if (end != token_end || error == std::errc::invalid_argument) return NAN;
  if (error == std::errc()) return value == -INFINITY ? kLogZero : value;
  const size_t exponent = token.find_first_of("eE");
  const bool is_small = exponent == token.npos ? token.find_first_of("123456789") > token.find('.')
                                               : token[exponent + 1] == '-';
  return is_small ? 0.0f : INFINITY;
}

// Removes a decimal number from the front of `s`; false if there is none or it is too large.
bool TakeNumber(std::string_view& s, uint64_t& number) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), number);
  if (error != std::errc()) return false;
  s.remove_prefix(end - s.data());
  return true;
}

std::string Grams(int n) { return std::to_string(n) + "-grams"; }

// Sorts n-grams of order N; returns their previous positions.
template <int N>
std::vector<uint32_t> SortIds(std::vector<int32_t>& ids) {
  struct Row {
    std::array<int32_t, N> ids;
    uint32_t place;
    bool operator<(const Row& other) const {
      return ids != other.ids ? ids < other.ids : place < other.place;
    }
  };
  std::vector<Row> rows(ids.size() / N);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(&ids[i * N], N, rows[i].ids.begin());
    rows[i].place = static_cast<uint32_t>(i);
  }
  std::sort(rows.begin(), rows.end());
  std::vector<uint32_t> places(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(rows[i].ids.begin(), N, &ids[i * N]);
    places[i] = rows[i].place;
  }
  return places;
}

std::vector<uint32_t> SortIds(std::vector<int32_t>& ids, int n) {
  static constexpr std::vector<uint32_t> (*kSort[])(std::vector<int32_t>&) = {
      SortIds<1>, SortIds<2>, SortIds<3>, SortIds<4>, SortIds<5>, SortIds<6>, SortIds<7>, SortIds<8>};
  return kSort[n - 1](ids);
}

std::vector<float> Permute(const std::vector<float>& values, const std::vector<uint32_t>& places) {
  std::vector<float> permuted(values.size());
  for (size_t i = 0; i < values.size(); ++i) permuted[i] = values[places[i]];
  return permuted;
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
      Fail("expected 'ngram " + std::to_string(declared_.size() + 1) + "=COUNT' or '\\1-grams:'");
    case State::kNgrams:
      Fail("the file ends within the " + Grams(n_) + "; it is truncated");
    case State::kAfterOrder:
      Fail("expected '" + NextHead() + "' after " + std::to_string(declared_[n_ - 1]) + " " + Grams(n_) +
           ", the file ends; it is truncated");
    case State::kDone:
      break;
  }
}

void ArpaReader::AddLine(std::string_view line) {
  if (state_ == State::kNgrams) return AddNgram(line);
  line = Strip(line);
  if (line.empty()) return;
  if (state_ == State::kBefore) {
    if (line_ == 1 && line.substr(0, kBom.size()) == kBom) line = Strip(line.substr(kBom.size()));
    if (line == "\\data\\") state_ = State::kCounts;
  } else if (state_ == State::kCounts) {
    AddCount(line);
  } else {
    // The heads of empty orders may be missing.
    while (line != NextHead() && n_ < static_cast<int>(declared_.size()) && declared_[n_] == 0) BeginOrder();
    if (line != NextHead())
      Fail("expected '" + NextHead() + "' after " + std::to_string(declared_[n_ - 1]) + " " + Grams(n_) +
           ", found " + Quoted(line) + "; correct the count in \\data\\");
    if (n_ == static_cast<int>(declared_.size()))
      state_ = State::kDone;
    else
      BeginOrder();
  }
}

std::string ArpaReader::NextHead() const {
  return n_ < static_cast<int>(declared_.size()) ? "\\" + Grams(n_ + 1) + ":" : "\\end\\";
}

// Reads "ngram N=COUNT", or the head of the 1-grams.
void ArpaReader::AddCount(std::string_view line) {
  if (line == "\\1-grams:") {
    if (declared_.empty() || declared_.size() > kMaxOrder)
      Fail("\\data\\ declares " + std::to_string(declared_.size()) + " orders; supported: 1 to " +
           std::to_string(kMaxOrder));
    return BeginOrder();
  }
  uint64_t n = 0, count = 0;
  bool is_good = line.substr(0, 5) == "ngram" && line.size() > 5 && IsBlank(line[5]);
  line = Strip(line.substr(std::min<size_t>(5, line.size())));
  is_good = is_good && TakeNumber(line, n) && n == declared_.size() + 1;
  line = Strip(line);
  is_good = is_good && line.substr(0, 1) == "=";
  line = Strip(line.substr(std::min<size_t>(1, line.size())));
  if (!is_good || !TakeNumber(line, count) || !line.empty())
    Fail("expected 'ngram " + std::to_string(declared_.size() + 1) + "=COUNT' or '\\1-grams:'");
  declared_.push_back(count);
}

void ArpaReader::BeginOrder() {
  ++n_;
  first_line_ = line_ + 1;
  blank_.clear();
  orders_.emplace_back();
  // The limit keeps a wrong count in the file from allocating too much; beyond it the arrays double.
  const size_t size = std::min<uint64_t>(declared_[n_ - 1], 1 << 24);
  orders_.back().ids.reserve(size * n_);
  orders_.back().log10_prob.reserve(size);
  orders_.back().log10_backoff.reserve(size);
  last_ids_.fill(-1);
  is_sorted_ = true;
  state_ = State::kNgrams;
  if (declared_[n_ - 1] == 0) EndOrder();
}

void ArpaReader::AddNgram(std::string_view line) {
  const bool is_highest = n_ == static_cast<int>(declared_.size());
  std::array<std::string_view, kMaxOrder + 3> fields;
  const int num_fields = SplitFields(line, fields);
  if (num_fields == 0) return blank_.push_back(orders_.back().log10_prob.size());
  if (num_fields == 1 && fields[0][0] == '\\')
    Fail("the " + Grams(n_) + " end here, before the number declared in \\data\\; correct that number");
  if (num_fields != n_ + 1 && num_fields != n_ + 2)
    Fail("expected a log10 probability, " + std::to_string(n_) + " words" +
         (is_highest ? "" : " and a log10 back-off weight"));
  const float prob = FiniteNumber(fields[0]);
  const float backoff = num_fields == n_ + 2 ? FiniteNumber(fields[n_ + 1]) : 0.0f;
  if (prob > 0) Fail("the log10 probability is positive");
  if (is_highest && backoff != 0) Fail("an n-gram of the highest order has a back-off weight; remove it");

  Ngrams& ngrams = orders_.back();
  if (n_ == 1) AddWord(fields[1]);
  std::array<int32_t, kMaxOrder> ids{};
  for (int i = 0; i < n_; ++i) {
    // Neighbouring n-grams share most words.
    const bool is_same = last_ids_[i] >= 0 && words_.Word(last_ids_[i]) == fields[i + 1];
    ids[i] = is_same ? last_ids_[i] : FindWord(fields[i + 1]);
  }
  is_sorted_ = is_sorted_ && last_ids_ < ids;
  ngrams.ids.insert(ngrams.ids.end(), ids.begin(), ids.begin() + n_);
  ngrams.log10_prob.push_back(prob);
  ngrams.log10_backoff.push_back(backoff);
  last_ids_ = ids;
  if (ngrams.log10_prob.size() == declared_[n_ - 1]) EndOrder();
}

float ArpaReader::FiniteNumber(std::string_view token) const {
  const float number = ParseNumber(token);
  if (std::isnan(number)) Fail(Quoted(token) + " is not a finite number");
  if (std::isinf(number))
    Fail(Quoted(token) + " is not a finite float32 number; expected a log10, -99 for a probability of 0");
  return number;
}

void ArpaReader::AddWord(std::string_view word) {
  if (words_.Find(word) != Vocabulary::kNone)
    Fail("the word is listed twice among the 1-grams; keep one of them");
  if (!IsUtf8(word)) Fail("the word is not UTF-8; convert the file, for instance with iconv");
  if (word.find('\0') != word.npos) Fail("the word contains a NUL character; remove it");
  if (word == kEpsilon) Fail("the word '<eps>' is reserved for epsilon in graphs; rename it");
  const std::string_view mark = MarkOf(word);
  if (!mark.empty() && HasMark(mark))
    Fail(Quoted(word) + " and " + Quoted(Spelling(mark)) +
         " above are spellings of one mark; keep one of them");
  const int32_t id = words_.FindOrAdd(word);
  if (!mark.empty()) marks_.push_back(id);
}

int32_t ArpaReader::FindWord(std::string_view word) const {
  const int32_t id = words_.Find(word);
  if (id != Vocabulary::kNone) return id;
  const std::string_view mark = MarkOf(word);
  Fail("word " + Quoted(word) + " is not among the 1-grams" +
       (mark.empty() || !HasMark(mark)
            ? ""
            : ", which spell it " + Quoted(Spelling(mark)) + "; use one spelling"));
}

// How the 1-grams spell a mark; empty if they lack it.
std::string_view ArpaReader::Spelling(std::string_view mark) const {
  for (const int32_t id : marks_)
    if (MarkOf(words_.Word(id)) == mark) return words_.Word(id);
  return {};
}

std::vector<std::string_view> ArpaReader::words() const {
  std::vector<std::string_view> words = words_.words();
  for (const int32_t id : marks_) words[id] = MarkOf(words[id]);
  return words;
}

void ArpaReader::EndOrder() {
  for (const char* mark : {"<s>", "</s>"})
    if (!HasMark(mark))
      Fail("no '" + std::string(mark) + "' among the 1-grams above; estimate the model on whole sentences");
  Ngrams& ngrams = orders_.back();
  std::vector<uint32_t> places;
  if (!is_sorted_) places = SortIds(ngrams.ids, n_);
  CheckNgrams(places);
  if (!is_sorted_) {
    ngrams.log10_prob = Permute(ngrams.log10_prob, places);
    ngrams.log10_backoff = Permute(ngrams.log10_backoff, places);
  }
  state_ = State::kAfterOrder;
}

// The line of the n-gram at `place` of the current order.
uint64_t ArpaReader::LineOf(uint64_t place) const {
  return first_line_ + place + (std::upper_bound(blank_.begin(), blank_.end(), place) - blank_.begin());
}

// Refuses the first line of this order that repeats another or whose history is not listed. `places`: the
// positions of the lines within this order, if they were not sorted.
void ArpaReader::CheckNgrams(const std::vector<uint32_t>& places) const {
  uint64_t repeated = UINT64_MAX, orphan = UINT64_MAX;
  const size_t size = orders_.back().log10_prob.size(),
               num_lower = n_ > 1 ? orders_[n_ - 2].log10_prob.size() : 0;
  const int32_t *ids = orders_.back().ids.data(), *lower = n_ > 1 ? orders_[n_ - 2].ids.data() : nullptr;
  for (size_t row = 0, history = 0; row < size; ++row, ids += n_) {
    const uint64_t place = places.empty() ? row : places[row];
    if (row > 0 && std::equal(ids, ids + n_, ids - n_)) repeated = std::min(repeated, place);
    if (n_ == 1) continue;
    const auto is_before = [&](const int32_t* h) {
      return std::lexicographical_compare(h, h + n_ - 1, ids, ids + n_ - 1);
    };
    while (history < num_lower && is_before(lower + history * (n_ - 1))) ++history;
    if (history == num_lower || !std::equal(ids, ids + n_ - 1, lower + history * (n_ - 1)))
      orphan = std::min(orphan, place);
  }
  if (orphan != UINT64_MAX)
    throw ArpaError(
        LineOf(orphan),
        "the n-gram's history is not among the shorter n-grams; rebuild or prune the model with a tool "
        "that keeps histories");
  if (repeated != UINT64_MAX)
    throw ArpaError(LineOf(repeated), "the n-gram is listed twice; keep one of them");
}

}  // namespace asr::lm
