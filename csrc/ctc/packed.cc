#include "packed.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace asr::ctc {
namespace {

class Block {
 public:
  Block() : words_(sizeof(PackedHeader) / 8 + sizeof(PackedHeader) / 8 % 2) {}

  // Returns the offset of the values in bytes, a multiple of 16.
  template <class T>
  int64_t Append(const std::vector<T>& values) {
    const size_t offset = words_.size(), bytes = values.size() * sizeof(T);
    words_.resize(offset + (bytes + 15) / 16 * 2);
    if (bytes) std::memcpy(words_.data() + offset, values.data(), bytes);
    return static_cast<int64_t>(offset * 8);
  }

  std::vector<int64_t> Finish(const PackedHeader& header) {
    std::memcpy(words_.data(), &header, sizeof(header));
    return std::move(words_);
  }

 private:
  std::vector<int64_t> words_;
};

// At least eight arcs per chunk, and about as many chunks as arcs in each of them for larger states.
int32_t NumChunks(int32_t arcs) {
  const int32_t size = std::max(8, static_cast<int32_t>(std::ceil(std::sqrt(static_cast<double>(arcs)))));
  return (arcs + size - 1) / size;
}

PackedHeader::Direction AppendArcs(Block& block, const Arcs& arcs, int64_t num_states, int64_t& num_chunks) {
  std::vector<int32_t> chunk_first{0}, chunk_state;
  for (int64_t s = 0; s < num_states; ++s) {
    const int32_t count = NumChunks(arcs.first[s + 1] - arcs.first[s]);
    chunk_state.insert(chunk_state.end(), static_cast<size_t>(count), static_cast<int32_t>(s));
    chunk_first.push_back(chunk_first.back() + count);
  }
  std::vector<PackedArc> packed;
  for (size_t k = 0; k < arcs.state.size(); ++k)
    packed.push_back({arcs.wide[k].m, static_cast<int32_t>(arcs.wide[k].e), arcs.state[k]});
  num_chunks = std::max<int64_t>(num_chunks, chunk_first.back());
  return {block.Append(chunk_first), block.Append(chunk_state), block.Append(arcs.first),
          block.Append(packed)};
}

std::vector<int32_t> FindLevels(const Acceptor& graph) {
  std::vector<int32_t> levels{0};
  for (int64_t s = graph.num_emitting; s < graph.num_states; ++s) {
    const auto begin = graph.in.state.begin();
    const bool depends = std::any_of(begin + graph.in.first[s], begin + graph.in.first[s + 1],
                                     [&](int32_t from) { return from >= levels.back(); });
    if (s == graph.num_emitting || depends) levels.push_back(static_cast<int32_t>(s));
  }
  levels.push_back(static_cast<int32_t>(graph.num_states));
  return levels;
}

}  // namespace

std::vector<int64_t> Pack(const Acceptor& graph) {
  std::vector<int32_t> labels, output_first(graph.outputs.size() + 1), output_states(graph.labels.size());
  for (int32_t code : graph.labels) {
    labels.push_back(graph.outputs[code]);
    ++output_first[code + 1];
  }
  for (size_t k = 1; k < output_first.size(); ++k) output_first[k] += output_first[k - 1];
  std::vector<int32_t> next = output_first;
  for (size_t s = 0; s < graph.labels.size(); ++s)
    output_states[next[graph.labels[s]]++] = static_cast<int32_t>(s);
  const std::vector<int32_t> levels = FindLevels(graph);

  Block block;
  PackedHeader header = {};
  header.num_emitting = graph.num_emitting;
  header.num_states = graph.num_states;
  header.num_levels = static_cast<int64_t>(levels.size()) - 1;
  header.num_outputs = static_cast<int64_t>(graph.outputs.size());
  header.log_empty = graph.log_empty;
  header.labels = block.Append(labels);
  header.levels = block.Append(levels);
  header.outputs = block.Append(graph.outputs);
  header.output_first = block.Append(output_first);
  header.output_states = block.Append(output_states);
  header.start = block.Append(graph.start);
  header.end = block.Append(graph.end);
  header.in = AppendArcs(block, graph.in, graph.num_states, header.num_chunks);
  header.out = AppendArcs(block, graph.out, graph.num_states, header.num_chunks);
  return block.Finish(header);
}

}  // namespace asr::ctc
