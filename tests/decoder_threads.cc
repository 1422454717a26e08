// Tests of the search without Python: `make sanitize` builds this file with csrc/decoder and runs it under
// the sanitizers. Threads that share a graph and phrases get the same results. Damaged graphs are refused or
// searched, but never crash. A dynamic graph that several threads expand, reaches its limit or runs out of
// memory stays consistent.
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

#include "costs.h"
#include "graph.h"
#include "language.h"
#include "lattice.h"
#include "lazy_graph.h"
#include "phrases.h"
#include "random_language.h"
#include "search.h"
#include "vocabulary.h"

// The number of allocations that succeed before one fails; -1: none fails.
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

namespace asr::decoder {
namespace {

constexpr size_t kPlenty = size_t{1} << 30;
constexpr int kStates = 40, kArcs = 300, kWords = 9, kFrames = 20;

#define CHECK(condition)                                                       \
  if (!(condition)) {                                                          \
    std::fprintf(stderr, "%s:%d: %s fails\n", __FILE__, __LINE__, #condition); \
    std::exit(1);                                                              \
  }

// 32-bit words, so that the graph is aligned.
using Image = std::vector<uint32_t>;

Image MakeGraph(std::mt19937* random, bool is_implicit) {
  const auto draw = [random](int n) { return static_cast<int32_t>((*random)() % n); };
  std::vector<State> states;
  std::vector<Arc> arcs;
  for (int s = 0; s < kStates; ++s) {
    State state{static_cast<uint32_t>(arcs.size()), 0, 0, draw(3) == 0 ? 0.5f : kInfinity};
    for (int a = 0; a < kArcs / kStates; ++a, ++state.num_emitting) {
      const int32_t least = is_implicit ? 2 : 1;
      arcs.push_back({least + draw(kTokens + 1 - least), draw(2) * (1 + draw(kWords)), 0.01f * draw(300),
                      draw(kStates)});
    }
    if (s + 1 < kStates) {  // epsilon arcs lead to higher states, so there are no cycles
      arcs.push_back({0, draw(2) * (1 + draw(kWords)), 0.01f * draw(300), s + 1 + draw(kStates - s - 1)});
      ++state.num_epsilon;
    }
    states.push_back(state);
  }
  const size_t num_bytes = sizeof(Header) + sizeof(State) * states.size() + sizeof(Arc) * arcs.size();
  Header header{{},        1,           kStates, static_cast<uint32_t>(arcs.size()), 0, kTokens, kWords,
                num_bytes, is_implicit, {}};
  std::memcpy(header.magic, "asrgraph", sizeof(header.magic));
  Image image(num_bytes / sizeof(uint32_t));
  char* at = reinterpret_cast<char*>(image.data());
  std::memcpy(at, &header, sizeof(header));
  std::memcpy(at + sizeof(header), states.data(), sizeof(State) * states.size());
  std::memcpy(at + sizeof(header) + sizeof(State) * states.size(), arcs.data(), sizeof(Arc) * arcs.size());
  return image;
}

std::vector<float> MakeLogProbs(std::mt19937* random) {
  std::vector<float> log_probs(kFrames * kTokens);
  for (float& x : log_probs) x = -0.01f * static_cast<float>((*random)() % 500);
  return log_probs;
}

SearchOptions Options() { return {10.0f, 1000, 5, 0.8f, 0.1f, kInfinity, 4.0f, {0.1f}}; }

struct Result {
  std::vector<int32_t> labels;
  double cost;
  size_t num_arcs;
  bool operator==(const Result& other) const {
    return labels == other.labels && cost == other.cost && num_arcs == other.num_arcs;
  }
};

Result Decode(const Graph& graph, const Phrases* phrases, const std::vector<float>& log_probs, int chunk) {
  Search search(graph, Options());
  search.Init(phrases);
  for (int f = 0; f < kFrames; f += chunk)
    search.Advance(log_probs.data() + f * kTokens, std::min(chunk, kFrames - f), kTokens);
  search.FindPartial();
  const Path path = search.Finalize();
  return {path.labels, path.cost, Determinize(search.FindLattice(), 4.0f, 300).arcs.size()};
}

void TestThreads() {
  for (const bool is_implicit : {false, true}) {
    std::mt19937 random(1);
    const Image image = MakeGraph(&random, is_implicit);
    const Graph graph(image.data(), image.size() * sizeof(uint32_t), false);
    const Phrases phrases({{{1, 2}, 2.0f}, {{3}, 1.0f}, {{2, 2, 4}, 3.0f}}, kWords);
    const std::vector<float> log_probs = MakeLogProbs(&random);
    const Result expected = Decode(graph, &phrases, log_probs, kFrames);
    std::vector<Result> results(8);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back(
          [&, t] { results[t] = Decode(graph, &phrases, log_probs, 1 + static_cast<int>(t)); });
    for (std::thread& thread : threads) thread.join();
    for (const Result& result : results) CHECK(result == expected);
  }
}

void TestGrowth() {
  std::mt19937 random(3);
  for (int round = 0; round < 10; ++round) {
    RandomLanguage parts(&random);
    const Language language = parts.Join();
    const Vocabulary vocabulary(language, {MakeSlot(round % 2 == 0 ? -1 : 3)});
    const std::vector<float> log_probs = MakeLogProbs(&random);
    const Result expected = Decode(LazyGraph(vocabulary, kPlenty), nullptr, log_probs, kFrames);
    const LazyGraph shared(vocabulary, kPlenty);
    std::vector<Result> results(6);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back(
          [&, t] { results[t] = Decode(shared, nullptr, log_probs, 1 + static_cast<int>(t)); });
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

// Expands all states that can still be expanded. Every arc must lead to an existing state.
void CheckArcs(const LazyGraph& graph) {
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
    const State& state = graph.states()[s];
    for (uint32_t a = 0; a < state.num_emitting + state.num_epsilon; ++a) {
      const int32_t next = graph.arcs()[state.arc_begin + a].next;
      CHECK(next >= 0 && static_cast<size_t>(next) < num_states);
      if (known.insert(next).second) reached.push_back(next);
    }
  }
}

// Decoding gives the expected result, or is refused because the graph is full. Returns true in the first
// case.
bool FindsOrRefuses(const LazyGraph& graph, const std::vector<float>& log_probs, const Result& expected) {
  try {
    CHECK(Decode(graph, nullptr, log_probs, kFrames) == expected);
    return true;
  } catch (const std::invalid_argument&) {
    CHECK(graph.size().is_full);
    return false;
  }
}

// Whatever the limit, threads get the same result as without it or are refused.
void TestLimits() {
  std::mt19937 random(4);
  RandomLanguage parts(&random);
  const Language language = parts.Join();
  const Vocabulary vocabulary(language, {MakeSlot(-1), MakeSlot(3)});
  const std::vector<float> log_probs = MakeLogProbs(&random);
  const LazyGraph whole(vocabulary, kPlenty);
  const Result expected = Decode(whole, nullptr, log_probs, kFrames);
  const size_t most = whole.size().num_bytes + 1000, least = LazyGraph(vocabulary, kPlenty).size().num_bytes;
  int num_full = 0, num_limits = 0;
  for (size_t limit = least; limit < most + 20000; limit += limit < least + 8000 ? 37 : 20000, ++num_limits) {
    const LazyGraph graph(vocabulary, limit);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int k = 0; k < 3; ++k) FindsOrRefuses(graph, log_probs, expected);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const LazyGraph::Size size = graph.size();
    CheckArcs(graph);
    CHECK(!size.is_full || graph.size().num_states == size.num_states);  // growing is not attempted again
    CHECK(graph.size().num_bytes < 2 * limit);
    num_full += size.is_full;
  }
  CHECK(num_full > 100 && num_full < num_limits);
  CHECK(IsRefused([&] { LazyGraph(vocabulary, least - 1); }));
}

void TestOutOfMemory() {
  std::mt19937 random(5);
  RandomLanguage parts(&random);
  const Language language = parts.Join();
  const Vocabulary vocabulary(language, {MakeSlot(3)});
  const std::vector<float> log_probs = MakeLogProbs(&random);
  const Result expected = Decode(LazyGraph(vocabulary, kPlenty), nullptr, log_probs, kFrames);
  int num_full = 0;
  for (int left = 0;; left += 1 + left / 8) {
    const LazyGraph graph(vocabulary, kPlenty);
    bool has_failed = false;
    allocations_left = left;
    try {
      Decode(graph, nullptr, log_probs, kFrames);
    } catch (const std::bad_alloc&) {
      has_failed = true;
    }
    allocations_left = -1;
    const bool is_full = graph.size().is_full;
    num_full += is_full;
    CHECK(FindsOrRefuses(graph, log_probs, expected) == !is_full);
    CheckArcs(graph);
    if (!has_failed) break;
  }
  CHECK(num_full > 10);
}

// Labels out of range, in the header of a graph and in slots; slots that may stay empty, or have states that
// are out of range or lead nowhere; two slots with the same word.
void TestRefusals() {
  std::mt19937 random(6);
  Image image = MakeGraph(&random, true);
  reinterpret_cast<Header*>(image.data())->max_ilabel = std::numeric_limits<int32_t>::max();
  CHECK(IsRefused([&] {
    const Graph graph(image.data(), image.size() * sizeof(uint32_t), false);
    Search(graph, Options());
  }));
  RandomLanguage parts(&random);
  const Language language = parts.Join();
  const auto is_refused = [&](const std::vector<Slot>& slots) {
    return IsRefused([&] { Search(LazyGraph(Vocabulary(language, slots), kPlenty), Options()); });
  };
  for (const int32_t label : {-1, 0, 1, std::numeric_limits<int32_t>::max()})
    CHECK(is_refused({{-1, {{{2, label}, 100, 1.0f, 0, 1}}, {kInfinity, 0.0f}}}));
  const auto is_refused_to = [&](uint32_t state, const std::vector<float>& final_costs) {
    return is_refused({{-1, {{{2}, 100, 1.0f, 0, state}}, final_costs}});
  };
  CHECK(!is_refused_to(1, {kInfinity, 0.0f}));
  CHECK(is_refused_to(1, {}) && is_refused_to(1, {0.0f, 0.0f}) && is_refused_to(1, {kInfinity, kInfinity}));
  CHECK(is_refused_to(0, {kInfinity, 0.0f}) && is_refused_to(2, {kInfinity, 0.0f}));
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
      const Graph graph(image.data(), num_bytes, round % 3 == 0);
      Decode(graph, nullptr, MakeLogProbs(&random), 7);
      ++num_searched;
    } catch (const std::invalid_argument&) {
      ++num_refused;
    }
  }
  CHECK(num_refused > 200 && num_searched > 100);
}

}  // namespace
}  // namespace asr::decoder

int main() {
  using namespace asr::decoder;
  TestThreads(), TestGrowth(), TestLimits();
  TestOutOfMemory();
  TestDamage();
  TestRefusals();
  std::puts("the search: threads get the same results, dynamic graphs stay consistent, damage is refused");
}
