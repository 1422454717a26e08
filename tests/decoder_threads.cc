// The search under the sanitizers without Python: `make sanitize` builds this with csrc/decoder and runs it.
// Threads share a graph and phrases, each with searches of its own, and find the same; damaged graphs are
// refused or searched, never a crash. A graph that grows does so for all threads at once.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bias.h"
#include "graph.h"
#include "language.h"
#include "lattice.h"
#include "lazy_graph.h"
#include "search.h"
#include "vocabulary.h"

namespace {

constexpr int kStates = 40, kArcs = 300, kTokens = 6, kWords = 9, kFrames = 20;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

#define CHECK(condition)                                                       \
  if (!(condition)) {                                                          \
    std::fprintf(stderr, "%s:%d: %s fails\n", __FILE__, __LINE__, #condition); \
    std::exit(1);                                                              \
  }

// Words of memory, so that the graph is aligned.
using Image = std::vector<uint32_t>;

Image MakeGraph(std::mt19937* random, bool is_implicit) {
  const auto draw = [random](int n) { return static_cast<int32_t>((*random)() % n); };
  std::vector<asr::State> states;
  std::vector<asr::Arc> arcs;
  for (int s = 0; s < kStates; ++s) {
    asr::State state{static_cast<uint32_t>(arcs.size()), 0, 0, draw(3) == 0 ? 0.5f : kInfinity};
    for (int a = 0; a < kArcs / kStates; ++a, ++state.num_emitting) {
      const int32_t least = is_implicit ? 2 : 1;
      arcs.push_back({least + draw(kTokens + 1 - least), draw(2) * (1 + draw(kWords)), 0.01f * draw(300),
                      draw(kStates)});
    }
    if (s + 1 < kStates) {  // epsilon arcs lead upwards: no cycles
      arcs.push_back({0, draw(2) * (1 + draw(kWords)), 0.01f * draw(300), s + 1 + draw(kStates - s - 1)});
      ++state.num_epsilon;
    }
    states.push_back(state);
  }
  const size_t num_bytes =
      sizeof(asr::Header) + sizeof(asr::State) * states.size() + sizeof(asr::Arc) * arcs.size();
  asr::Header header{{},        1,           kStates, static_cast<uint32_t>(arcs.size()), 0, kTokens, kWords,
                     num_bytes, is_implicit, {}};
  std::memcpy(header.magic, "asrgraph", sizeof(header.magic));
  Image image(num_bytes / sizeof(uint32_t));
  char* at = reinterpret_cast<char*>(image.data());
  std::memcpy(at, &header, sizeof(header));
  std::memcpy(at + sizeof(header), states.data(), sizeof(asr::State) * states.size());
  std::memcpy(at + sizeof(header) + sizeof(asr::State) * states.size(), arcs.data(),
              sizeof(asr::Arc) * arcs.size());
  return image;
}

std::vector<float> MakeScores(std::mt19937* random) {
  std::vector<float> scores(kFrames * kTokens);
  for (float& score : scores) score = -0.01f * static_cast<float>((*random)() % 500);
  return scores;
}

asr::SearchOptions Options() { return {10.0f, 1000, 5, 0.8f, 0.1f, kInfinity, 4.0f, {0.1f}}; }

struct Result {
  std::vector<int32_t> labels;
  double cost;
  size_t num_arcs;
  bool operator==(const Result& other) const {
    return labels == other.labels && cost == other.cost && num_arcs == other.num_arcs;
  }
};

Result Decode(const asr::Graph& graph, const asr::Bias* bias, const std::vector<float>& scores, int chunk) {
  asr::Search search(graph, Options());
  search.Init(bias);
  for (int f = 0; f < kFrames; f += chunk)
    search.Advance(scores.data() + f * kTokens, std::min(chunk, kFrames - f), kTokens);
  search.FindPartial();
  const asr::Path path = search.Finalise();
  return {path.labels, path.cost, asr::Determinize(search.FindLattice(), 4.0f, 300).arcs.size()};
}

void TestThreads() {
  for (const bool is_implicit : {false, true}) {
    std::mt19937 random(1);
    const Image image = MakeGraph(&random, is_implicit);
    const asr::Graph graph(image.data(), image.size() * sizeof(uint32_t), false);
    const asr::Bias bias({{{1, 2}, 2.0f}, {{3}, 1.0f}, {{2, 2, 4}, 3.0f}}, kWords);
    const std::vector<float> scores = MakeScores(&random);
    const Result expected = Decode(graph, &bias, scores, kFrames);
    std::vector<Result> results(8);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back([&, t] { results[t] = Decode(graph, &bias, scores, 1 + static_cast<int>(t)); });
    for (std::thread& thread : threads) thread.join();
    for (const Result& result : results) CHECK(result == expected);
  }
}

// A file of parts, each at a multiple of 8 bytes.
class FileImage {
 public:
  template <class T>
  void Add(const std::vector<T>& part) {
    const size_t place = words_.size();
    words_.resize(place + (part.size() * sizeof(T) + 7) / 8);
    std::memcpy(&words_[place], part.data(), part.size() * sizeof(T));
  }
  // The magic number, 4-byte numbers, and at the end the bytes of the words' names (none) and of the file.
  void AddHeader(const char* magic, const std::vector<uint32_t>& numbers) {
    words_.resize(1);
    std::memcpy(words_.data(), magic, sizeof(uint64_t));
    Add(numbers);
    words_.resize(words_.size() + 2);
    num_bytes_at_ = words_.size() - 1;
  }
  const void* data() {
    words_[num_bytes_at_] = size();
    return words_.data();
  }
  size_t size() const { return words_.size() * sizeof(uint64_t); }

 private:
  std::vector<uint64_t> words_;
  size_t num_bytes_at_ = 0;
};

// A word for each spelling drawn, labels from 2 on; no two share a suffix.
FileImage MakeTree(std::mt19937* random, uint32_t* num_words) {
  std::set<std::vector<uint16_t>> spellings;
  for (int i = 0; i < 60; ++i) {
    std::vector<uint16_t> spelling(1 + (*random)() % 5);
    for (uint16_t& label : spelling) label = static_cast<uint16_t>(2 + (*random)() % (kTokens - 1));
    spellings.insert(spelling);
  }
  std::vector<uint32_t> first = {0}, word, suffix;
  std::vector<uint16_t> labels;
  std::vector<asr::Tree::Suffix> suffixes = {{0, 0}};
  for (const std::vector<uint16_t>& spelling : spellings) {
    const auto length = static_cast<uint32_t>(spelling.size());
    for (uint32_t k = length; k-- > 0;)
      suffixes.push_back({spelling[k], k + 1 == length ? 0 : static_cast<uint32_t>(suffixes.size()) - 1});
    for (uint32_t k = 0; k < length; ++k) suffix.push_back(static_cast<uint32_t>(suffixes.size()) - 1 - k);
    labels.insert(labels.end(), spelling.begin(), spelling.end());
    first.push_back(static_cast<uint32_t>(labels.size()));
    word.push_back(static_cast<uint32_t>(word.size()) + 1);
  }
  *num_words = static_cast<uint32_t>(word.size());
  FileImage image;
  image.AddHeader("asrwords", {1, *num_words, *num_words, first.back(),
                               static_cast<uint32_t>(suffixes.size()), kTokens, 0, 0});
  image.Add(first);
  image.Add(word);
  image.Add(labels);
  image.Add(suffix);
  image.Add(suffixes);
  return image;
}

// A bigram: each word leads to a history of its own, which lists a few.
FileImage MakeNgram(std::mt19937* random, uint32_t num_words) {
  std::vector<asr::Ngram::State> states;
  std::vector<asr::Ngram::Arc> arcs;
  const auto draw_cost = [random] { return 0.01f * static_cast<float>(1 + (*random)() % 300); };
  for (uint32_t s = 0; s <= num_words; ++s) {
    states.push_back({static_cast<uint32_t>(arcs.size()), 0, draw_cost(), draw_cost()});
    for (uint32_t w = 0; w < num_words; ++w)
      if (s == 0 || (*random)() % 8 == 0) arcs.push_back({w, draw_cost(), w + 1});
  }
  states.push_back({static_cast<uint32_t>(arcs.size()), 0, 0, 0});
  FileImage image;
  const auto num_states = static_cast<uint32_t>(states.size()) - 1;
  image.AddHeader("asrngram", {1, num_states, static_cast<uint32_t>(arcs.size()), num_words, 0, 0});
  image.Add(states);
  image.Add(arcs);
  return image;
}

void TestGrowth() {
  std::mt19937 random(3);
  for (int round = 0; round < 10; ++round) {
    uint32_t num_words;
    FileImage tree = MakeTree(&random, &num_words);
    FileImage ngram = MakeNgram(&random, num_words);
    std::vector<uint32_t> word_of(num_words);
    for (uint32_t w = 0; w < num_words; ++w) word_of[w] = w + 1;
    const asr::Language language(tree.data(), tree.size(), ngram.data(), ngram.size(), word_of);
    const asr::Slot slot = {round % 2 == 0 ? -1 : 3, {{{2, 3, 4}, 100, 1.0f}, {{2, 3}, 101, 2.0f}}};
    const asr::Vocabulary vocabulary(language, {slot});
    const std::vector<float> scores = MakeScores(&random);
    const Result expected = Decode(asr::LazyGraph(vocabulary), nullptr, scores, kFrames);
    const asr::LazyGraph shared(vocabulary);
    std::vector<Result> results(6);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back([&, t] { results[t] = Decode(shared, nullptr, scores, 1 + static_cast<int>(t)); });
    for (std::thread& thread : threads) thread.join();
    for (const Result& result : results) CHECK(result == expected);
    CHECK(!expected.labels.empty() && shared.size().num_states > 100);
  }
}

void TestDamage() {
  std::mt19937 random(2);
  int num_refused = 0, num_searched = 0;
  for (int round = 0; round < 1000; ++round) {
    Image image = MakeGraph(&random, round % 2 == 1);
    size_t num_bytes = image.size() * sizeof(uint32_t);
    auto* bytes = reinterpret_cast<uint8_t*>(image.data());
    for (unsigned k = random() % 4; k-- > 0;)
      bytes[random() % num_bytes] ^= static_cast<uint8_t>(1 << random() % 8);
    if (random() % 4 == 0) num_bytes = random() % num_bytes;
    try {
      const asr::Graph graph(image.data(), num_bytes, round % 3 == 0);
      Decode(graph, nullptr, MakeScores(&random), 7);
      ++num_searched;
    } catch (const std::invalid_argument&) {
      ++num_refused;
    }
  }
  CHECK(num_refused > 200 && num_searched > 100);
}

}  // namespace

int main() {
  TestThreads();
  TestGrowth();
  TestDamage();
  std::puts("the search: threads agree, also on what grows; damage is refused");
}
