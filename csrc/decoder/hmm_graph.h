// Graphs of HMMs: H o C o LG, each phone of a graph replaced by its HMM in context (asr/hmm/graph.py says
// how), and the graph of phones of a transcript.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "number_map.h"

namespace asr::decoder {

// A transducer as columns, as asr.graph.automaton: arcs are ordered by source, costs are negative natural
// logs.
struct Columns {
  void Add(int32_t from, int32_t in, int32_t out, float arc_cost, int32_t to) {
    source.push_back(from), ilabel.push_back(in), olabel.push_back(out), cost.push_back(arc_cost);
    target.push_back(to);
  }

  int32_t start = 0;
  std::vector<float> final_costs;  // one per state; +infinity: not a final state
  std::vector<int32_t> source, ilabel, olabel, target;
  std::vector<float> cost;
};

// A view of columns that the caller holds. The arcs of state s are first[s] to first[s + 1] - 1.
struct ColumnsView {
  int32_t start;
  size_t num_states;
  const float* final_costs;
  const int64_t* first;
  const int32_t *ilabel, *olabel, *target;
  const float* cost;
};

// Replaces phones by HMMs. It remembers the HMM of each phone in context. Threads take turns.
class HmmExpander {
 public:
  // The labels of the outputs of each state of a phone between two others.
  using Find = std::function<std::vector<int32_t>(int64_t left, int64_t phone, int64_t right)>;

  // Of each phone, 0 for the edge of an utterance among them: `asks`, whether its HMM depends on the phones
  // around it, and `costs` of its steps (S + 1, S + 1), laid out as asr.hmm.topology; +infinity: no such
  // step.
  HmmExpander(std::vector<uint8_t> asks, std::vector<std::vector<double>> costs);

  // The graph of outputs for a graph whose input label p + 1 is phone p. None if the graph with the phones
  // around each phone has more than `most_arcs`. Throws std::invalid_argument for an unknown phone, and for
  // labels that are more or fewer than the states of their phone.
  std::optional<Columns> Expand(const ColumnsView& graph, int64_t most_arcs, const Find& find);

 private:
  // An arc of C o LG: it passes the HMM of a context, or nothing.
  struct PairedArc {
    int32_t source, context, olabel;
    float cost;
    int32_t target;
  };
  struct PhoneHmm {
    const std::vector<double>& costs;
    std::vector<int32_t> labels;
  };
  struct Paired {
    int32_t start = 0;
    std::vector<float> final_costs;
    std::vector<PairedArc> arcs;  // by source
  };
  struct Reached {  // pairs of a state and the last two phones read
    std::vector<int64_t> codes;
    NumberMap numbers;
  };
  // HMMs with the state behind them. Arcs that pass the same HMM to the same state share its states.
  struct SharedHmms {
    std::vector<int32_t> of_arc;                    // -1 for one that passes nothing
    std::vector<std::pair<int32_t, int32_t>> hmms;  // HMM, target
    std::vector<int32_t> first_state;
  };

  Paired Alone(const ColumnsView& graph, const Find& find);
  std::optional<Reached> Reach(const ColumnsView& graph, int64_t most_arcs) const;
  Paired Pair(const ColumnsView& graph, const Reached& reached, const Find& find);
  int64_t Phone(int32_t label) const;
  int64_t After(int64_t state, int64_t last, int64_t read) const;
  int32_t Context(int64_t left, int64_t phone, int64_t right, const Find& find);
  std::vector<int32_t> RankHmms(const std::vector<PairedArc>& arcs) const;
  SharedHmms Share(const Paired& paired) const;

  std::mutex mutex_;
  const int64_t size_;  // number of phones
  const std::vector<uint8_t> asks_;
  const bool has_contexts_;
  const std::vector<std::vector<double>> costs_;
  std::vector<PhoneHmm> hmms_;
  std::map<std::pair<int64_t, std::vector<int32_t>>, int32_t> hmm_of_;  // phone, labels -> place in hmms_
  std::vector<std::pair<int64_t, int32_t>> contexts_;                   // code, HMM
  NumberMap context_of_;                                                // code -> place in contexts_
};

// The pronunciations of a word and their costs.
using SpelledWord = std::vector<std::pair<std::vector<int32_t>, double>>;

// The phone sequences of a transcript; see asr.hmm.alignment.acceptor_of. `silence`: a phone; 0 for none.
Columns SpellTranscript(const std::vector<SpelledWord>& words, int32_t silence);

}  // namespace asr::decoder
