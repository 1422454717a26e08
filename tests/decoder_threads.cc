// The search under the sanitizers without Python: `make sanitize` builds this with csrc/decoder and runs it.
// Threads share a graph and phrases, each with searches of its own, and find the same; damaged graphs are
// refused or searched, never a crash. A graph that grows does so for all threads at once; where it may grow
// no further, or memory ends, it stays whole.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <new>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "graph.h"
#include "language.h"
#include "lattice.h"
#include "lazy_graph.h"
#include "phrases.h"
#include "search.h"
#include "vocabulary.h"

// So many allocations from now one fails; -1: none does.
thread_local int allocations_left = -1;

__attribute__((noinline)) void* operator new(size_t num_bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  void* memory = std::malloc(num_bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t num_bytes, const std::nothrow_t&) noexcept { return std::malloc(num_bytes); }
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

constexpr size_t kPlenty = size_t{1} << 30;
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

Result Decode(const asr::Graph& graph, const asr::Phrases* phrases, const std::vector<float>& scores,
              int chunk) {
  asr::Search search(graph, Options());
  search.Init(phrases);
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
    const asr::Phrases phrases({{{1, 2}, 2.0f}, {{3}, 1.0f}, {{2, 2, 4}, 3.0f}}, kWords);
    const std::vector<float> scores = MakeScores(&random);
    const Result expected = Decode(graph, &phrases, scores, kFrames);
    std::vector<Result> results(8);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back([&, t] { results[t] = Decode(graph, &phrases, scores, 1 + static_cast<int>(t)); });
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

struct RandomLanguage {
  explicit RandomLanguage(std::mt19937* random)
      : tree(MakeTree(random, &num_words)), ngram(MakeNgram(random, num_words)), word_of(num_words) {
    for (uint32_t w = 0; w < num_words; ++w) word_of[w] = w + 1;
  }
  asr::Language Join() {
    return asr::Language(tree.data(), tree.size(), ngram.data(), ngram.size(), word_of);
  }
  uint32_t num_words;
  FileImage tree, ngram;
  std::vector<uint32_t> word_of;
};

asr::Slot MakeSlot(int64_t word) { return {word, {{{2, 3, 4}, 100, 1.0f}, {{2, 3}, 101, 2.0f}}}; }

void TestGrowth() {
  std::mt19937 random(3);
  for (int round = 0; round < 10; ++round) {
    RandomLanguage parts(&random);
    const asr::Language language = parts.Join();
    const asr::Vocabulary vocabulary(language, {MakeSlot(round % 2 == 0 ? -1 : 3)});
    const std::vector<float> scores = MakeScores(&random);
    const Result expected = Decode(asr::LazyGraph(vocabulary, kPlenty), nullptr, scores, kFrames);
    const asr::LazyGraph shared(vocabulary, kPlenty);
    std::vector<Result> results(6);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back([&, t] { results[t] = Decode(shared, nullptr, scores, 1 + static_cast<int>(t)); });
    for (std::thread& thread : threads) thread.join();
    for (const Result& result : results) CHECK(result == expected);
    CHECK(!expected.labels.empty() && shared.size().num_states > 100);
  }
}

template <class Make>
bool IsRefused(const Make& make) {
  try {
    make();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

// Grows what can still be grown. No arc leads to a state that there is not.
void CheckArcs(const asr::LazyGraph& graph) {
  std::vector<int32_t> reached = {static_cast<int32_t>(graph.header().start)};
  std::set<int32_t> known(reached.begin(), reached.end());
  while (!reached.empty()) {
    const int32_t s = reached.back();
    reached.pop_back();
    try {
      graph.Check(s);
    } catch (const std::invalid_argument&) {
      continue;
    }
    const size_t num_states = graph.size().num_states;
    const asr::State& state = graph.states()[s];
    for (uint32_t a = 0; a < state.num_emitting + state.num_epsilon; ++a) {
      const int32_t next = graph.arcs()[state.arc_begin + a].next;
      CHECK(next >= 0 && static_cast<size_t>(next) < num_states);
      if (known.insert(next).second) reached.push_back(next);
    }
  }
}

// The expected result, or a refusal because the graph is full. Returns whether it was found.
bool FindsOrRefuses(const asr::LazyGraph& graph, const std::vector<float>& scores, const Result& expected) {
  try {
    CHECK(Decode(graph, nullptr, scores, kFrames) == expected);
    return true;
  } catch (const std::invalid_argument&) {
    CHECK(graph.size().is_full);
    return false;
  }
}

// Whatever the limit, threads find what they would without it or are refused.
void TestLimits() {
  std::mt19937 random(4);
  RandomLanguage parts(&random);
  const asr::Language language = parts.Join();
  const asr::Vocabulary vocabulary(language, {MakeSlot(-1), MakeSlot(3)});
  const std::vector<float> scores = MakeScores(&random);
  const asr::LazyGraph whole(vocabulary, kPlenty);
  const Result expected = Decode(whole, nullptr, scores, kFrames);
  const size_t most = whole.size().num_bytes + 1000,
               least = asr::LazyGraph(vocabulary, kPlenty).size().num_bytes;
  int num_full = 0, num_limits = 0;
  for (size_t limit = least; limit < most + 20000; limit += limit < least + 8000 ? 37 : 20000, ++num_limits) {
    const asr::LazyGraph graph(vocabulary, limit);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int k = 0; k < 3; ++k) FindsOrRefuses(graph, scores, expected);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const asr::LazyGraph::Size size = graph.size();
    CheckArcs(graph);
    CHECK(!size.is_full || graph.size().num_states == size.num_states);  // it was refused, not tried again
    CHECK(graph.size().num_bytes < 2 * limit);
    num_full += size.is_full;
  }
  CHECK(num_full > 100 && num_full < num_limits);
  CHECK(IsRefused([&] { asr::LazyGraph(vocabulary, least - 1); }));
}

void TestMemoryThatEnds() {
  std::mt19937 random(5);
  RandomLanguage parts(&random);
  const asr::Language language = parts.Join();
  const asr::Vocabulary vocabulary(language, {MakeSlot(3)});
  const std::vector<float> scores = MakeScores(&random);
  const Result expected = Decode(asr::LazyGraph(vocabulary, kPlenty), nullptr, scores, kFrames);
  int num_full = 0;
  for (int left = 0;; left += 1 + left / 8) {
    const asr::LazyGraph graph(vocabulary, kPlenty);
    bool has_failed = false;
    allocations_left = left;
    try {
      Decode(graph, nullptr, scores, kFrames);
    } catch (const std::bad_alloc&) {
      has_failed = true;
    }
    allocations_left = -1;
    const bool is_full = graph.size().is_full;
    num_full += is_full;
    CHECK(FindsOrRefuses(graph, scores, expected) == !is_full);
    CheckArcs(graph);
    if (!has_failed) break;
  }
  CHECK(num_full > 10);
}

// Labels that none can be, in the header of a graph and in slots; two slots of one word.
void TestRefusals() {
  std::mt19937 random(6);
  Image image = MakeGraph(&random, true);
  reinterpret_cast<asr::Header*>(image.data())->max_ilabel = std::numeric_limits<int32_t>::max();
  CHECK(IsRefused([&] {
    const asr::Graph graph(image.data(), image.size() * sizeof(uint32_t), false);
    asr::Search(graph, Options());
  }));
  RandomLanguage parts(&random);
  const asr::Language language = parts.Join();
  const auto is_refused = [&](const std::vector<asr::Slot>& slots) {
    return IsRefused(
        [&] { asr::Search(asr::LazyGraph(asr::Vocabulary(language, slots), kPlenty), Options()); });
  };
  for (const int32_t label : {-1, 0, 1, std::numeric_limits<int32_t>::max()})
    CHECK(is_refused({{-1, {{{2, label}, 100, 1.0f}}}}));
  CHECK(!is_refused({MakeSlot(3), MakeSlot(4), MakeSlot(-1), MakeSlot(-1)}));
  CHECK(is_refused({MakeSlot(3), MakeSlot(4), MakeSlot(3)}));
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
  TestLimits();
  TestMemoryThatEnds();
  TestDamage();
  TestRefusals();
  std::puts("the search: threads agree, also on what grows; damage is refused");
}
