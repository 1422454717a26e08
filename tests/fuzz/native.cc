// libFuzzer targets of the C++ readers and of the search behind them, built with sanitizers by __main__.py.
// Any input is read or refused with std::invalid_argument.
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#ifdef NATIVE_ARPA
#include "arpa_read.h"
#else
#include "graph.h"
#include "language.h"
#include "lattice.h"
#include "lazy_graph.h"
#include "search.h"
#include "vocabulary.h"
#endif

namespace {

#ifdef NATIVE_ARPA
void Read(const uint8_t* data, size_t size) {
  asr::lm::ArpaReader reader;
  // Whole lines in two pieces, as from a file.
  const char* text = reinterpret_cast<const char*>(data);
  size_t middle = size / 2;
  while (middle < size && (middle == 0 || text[middle - 1] != '\n')) ++middle;
  reader.Add({text, middle});
  if (middle < size) reader.Add({text + middle, size - middle});
  reader.Finish();
}
#else
// Bytes at an address that is a multiple of 8.
std::vector<uint64_t> Aligned(const uint8_t* data, size_t size) {
  std::vector<uint64_t> words(size / 8 + 1);
  if (size > 0) std::memcpy(words.data(), data, size);
  return words;
}

void SearchIn(const asr::decoder::Graph& graph) {
  constexpr int kTokens = 16, kFrames = 4;
  if (graph.header().max_ilabel > kTokens) return;
  std::vector<float> log_probs(kTokens * kFrames);
  for (size_t i = 0; i < log_probs.size(); ++i) log_probs[i] = -0.1f * static_cast<float>(i * 7 % 23);
  asr::decoder::SearchOptions options = {16.0f, 500, 20, 1.0f, 0.0f, asr::decoder::kInfinity, 4.0f, {}};
  asr::decoder::Search search(graph, options);
  search.Init(nullptr);
  search.Advance(log_probs.data(), kFrames, kTokens);
  search.Finalize();
  search.FindPartial();
  asr::decoder::Determinize(search.FindLattice(), 4.0f, 200);
}

#ifdef NATIVE_GRAPH
void Read(const uint8_t* data, size_t size) {
  const std::vector<uint64_t> words = Aligned(data, size);
  for (const bool check_all : {true, false}) SearchIn(asr::decoder::Graph(words.data(), size, check_all));
}
#else
void Read(const uint8_t* data, size_t size) {
  using namespace asr::decoder;
  uint32_t tree_size = 0;
  if (size < sizeof(tree_size)) return;
  std::memcpy(&tree_size, data, sizeof(tree_size));
  data += sizeof(tree_size);
  size -= sizeof(tree_size);
  if (tree_size > size) return;
  const std::vector<uint64_t> tree = Aligned(data, tree_size);
  const std::vector<uint64_t> ngram = Aligned(data + tree_size, size - tree_size);
  const Tree read_tree(tree.data(), tree_size);
  const Ngram read_ngram(ngram.data(), size - tree_size);
  std::vector<uint32_t> word_of(read_ngram.num_words());
  for (size_t i = 0; i < word_of.size(); ++i)
    word_of[i] = i < read_tree.num_words() ? static_cast<uint32_t>(i) + 1 : 0;
  const Language language(tree.data(), tree_size, ngram.data(), size - tree_size, word_of);
  const Vocabulary vocabulary(language, {{-1, {{{2, 3}, 1, 0.5f}}}});
  const LazyGraph graph(vocabulary, size_t{1} << 24);
  SearchIn(graph);
}
#endif
#endif

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    Read(data, size);
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
