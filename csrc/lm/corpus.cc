#include "corpus.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "utf8.h"

namespace asr::lm {

namespace {

constexpr uint64_t kMostWords = uint64_t{1} << 62;  // counts and their sums have 63 bits

constexpr char kTaken[] = "the text of this corpus has been used; make a new corpus for another estimation";

// A place that requests fill with words, as asr.words.is_slot defines it. Marks excepted.
bool IsSlot(std::string_view word) { return word.size() > 2 && word.front() == '<' && word.back() == '>'; }

}  // namespace

Corpus::Corpus(size_t memory_bytes, std::string folder)
    : memory_(memory_bytes, std::move(folder)), counts_(kNumMarks), tokens_(memory_) {
  for (const char* mark : {"<unk>", "<s>", "</s>"}) vocabulary_.FindOrAdd(mark);
}

size_t Corpus::Add(std::string_view lines) {
  if (is_taken_) throw std::logic_error(kTaken);
  size_t num_lines = 0;
  const char *at = lines.data(), *const end = at + lines.size();
  for (; at < end; ++num_lines) {
    const char* line_end = static_cast<const char*>(std::memchr(at, '\n', end - at));
    if (!line_end) line_end = end;
    if (!AddLine(at, line_end)) break;
    at = line_end + 1;
  }
  return num_lines;
}

bool Corpus::AddLine(const char* begin, const char* end) {
  line_.clear();
  if (!Split(begin, end)) return false;
  if (line_.empty()) return true;
  counts_.resize(vocabulary_.size());
  ++counts_[kBegin];
  ++counts_[kEnd];
  num_words_ += line_.size();
  longest_ = std::max(longest_, line_.size() + 2);
  tokens_.Append(kBegin);
  for (const int32_t id : line_) {
    tokens_.Append(id);
    ++counts_[id];
  }
  tokens_.Append(kEnd);
  return true;
}

// Puts the ids of the line's words into line_. Returns false for an invalid line.
bool Corpus::Split(const char* begin, const char* end) {
  const char* word = begin;
  const auto finish = [&](const char* word_end) {
    if (word == word_end) return true;
    const std::string_view found(word, word_end - word);
    if (found == kEpsilon || !MarkOf(found).empty()) return false;
    line_.push_back(vocabulary_.FindOrAdd(found));
    return true;
  };
  for (const char* at = begin; at < end;) {
    Character character{static_cast<unsigned char>(*at), 1};
    if (character.code > ' ' && character.code < 0x80) {
      ++at;
      continue;
    }
    if (character.code >= 0x80)
      character =
          DecodeUtf8(reinterpret_cast<const unsigned char*>(at), reinterpret_cast<const unsigned char*>(end));
    if (character.length == 0 || character.code == 0) return false;
    const char* next = at + character.length;
    if (IsSpace(character.code)) {
      if (!finish(at)) return false;
      word = next;
    }
    at = next;
  }
  return finish(end);
}

void Corpus::BeginCounts(int order) {
  if (is_taken_) throw std::logic_error(kTaken);
  if (order < 1 || order > kMaxOrder) throw std::invalid_argument("its order is wrong");
  counted_.emplace_back(memory_, order);
  counted_.back().ids = {kUnknown, kBegin, kEnd};
  unpacker_.reset();
}

void Corpus::AddCountedWords(std::string_view lines) {
  std::vector<int32_t>& ids = counted_.at(counted_.size() - 1).ids;
  while (!lines.empty()) {
    const std::string_view word = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(word.size() + 1, lines.size()));
    line_.clear();
    if (!Split(word.data(), word.data() + word.size()) || line_.size() != 1 ||
        vocabulary_.Word(line_[0]) != word)
      throw std::invalid_argument("it has a word that cannot be one");
    if (ids.size() > kNumMarks && word <= vocabulary_.Word(ids.back()))
      throw std::invalid_argument("the words do not ascend");
    ids.push_back(line_[0]);
  }
  counts_.resize(vocabulary_.size());
}

void Corpus::AddCountedNgrams(std::string_view block) {
  CountedText& counted = counted_.at(counted_.size() - 1);
  if (!unpacker_) unpacker_.emplace(counted.order, counted.ids.size());
  size_t at = 0;
  const auto next = [&] {
    if (at == block.size()) throw std::invalid_argument("an n-gram is cut off");
    return static_cast<uint8_t>(block[at++]);
  };
  while (at < block.size()) {
    const Reversed& ngram = unpacker_->Read(next);
    if (ngram.count > kMostWords - num_words_ - num_sentences())
      throw std::invalid_argument("the counts are too large");
    const int32_t last = counted.ids[ngram.words[0]];
    counts_[last] += ngram.count;
    if (last == kEnd)
      counts_[kBegin] += ngram.count;
    else
      num_words_ += ngram.count;
    longest_ = std::max<size_t>(longest_, unpacker_->length());
    ++counted.num_ngrams;
  }
  for (const char byte : block) counted.bytes.Append(static_cast<uint8_t>(byte));
}

uint64_t Corpus::num_ngrams() const {
  uint64_t num = tokens_.size();
  for (const CountedText& counted : counted_) num += counted.num_ngrams;
  return num;
}

Corpus::Text Corpus::Take() {
  if (is_taken_) throw std::logic_error(kTaken);
  if (new_ids_.size() != vocabulary_.size())
    throw std::logic_error("the words have not been selected; call select first");
  is_taken_ = true;
  return {std::move(tokens_), std::move(counted_)};
}

void Corpus::Select(const Selection& selection) {
  std::vector<std::pair<std::string_view, int32_t>> kept;  // words and their ids as read
  if (selection.words) listed_ = *selection.words;
  for (const std::string& word : listed_) kept.emplace_back(word, vocabulary_.Find(word));
  if (!selection.words)
    for (const int32_t id : MostFrequent(selection)) kept.emplace_back(vocabulary_.Word(id), id);
  for (int32_t id = kNumMarks; id < static_cast<int32_t>(vocabulary_.size()); ++id)
    if (IsSlot(vocabulary_.Word(id))) kept.emplace_back(vocabulary_.Word(id), id);
  kept.erase(std::remove_if(kept.begin(), kept.end(),
                            [](const auto& x) { return 0 <= x.second && x.second < kNumMarks; }),
             kept.end());
  std::sort(kept.begin(), kept.end());  // byte order of UTF-8 is code point order
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());

  new_ids_.assign(vocabulary_.size(), kUnknown);
  std::iota(new_ids_.begin(), new_ids_.begin() + kNumMarks, 0);
  words_.assign(vocabulary_.words().begin(), vocabulary_.words().begin() + kNumMarks);
  for (const auto& [word, id] : kept) {
    if (id != Vocabulary::kNone) new_ids_[id] = static_cast<int32_t>(words_.size());
    words_.push_back(word);
  }
  num_unknown_ = 0;
  for (size_t id = kNumMarks; id < counts_.size(); ++id)
    if (new_ids_[id] == kUnknown) num_unknown_ += counts_[id];
}

// The ids of the words that are frequent enough; equally frequent words are in code point order.
std::vector<int32_t> Corpus::MostFrequent(const Selection& selection) const {
  std::vector<int32_t> ids(num_seen());
  std::iota(ids.begin(), ids.end(), static_cast<int32_t>(kNumMarks));
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return counts_[a] != counts_[b] ? counts_[a] > counts_[b] : vocabulary_.Word(a) < vocabulary_.Word(b);
  });
  const double wanted = selection.coverage * static_cast<double>(num_words());
  uint64_t covered = 0;
  size_t size = 0;
  while (size < ids.size() && counts_[ids[size]] >= selection.min_count &&
         (selection.size == 0 || size < selection.size) &&
         (selection.coverage >= 1.0 || static_cast<double>(covered) < wanted))
    covered += counts_[ids[size++]];
  ids.resize(size);
  return ids;
}

}  // namespace asr::lm
