// The search under the sanitizers without Python: `make sanitize` builds this with csrc/decoder and runs it.
// Threads share a graph and phrases, each with searches of its own, and find the same; damaged graphs are
// refused or searched, never a crash.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bias.h"
#include "graph.h"
#include "lattice.h"
#include "search.h"

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
  TestDamage();
  std::puts("the search: threads agree, damage is refused");
}
