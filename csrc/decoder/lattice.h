// Lattices: acyclic graphs of the best paths of one utterance.
#pragma once

#include <cstdint>
#include <vector>

namespace asr::decoder {

// Tolerance for rounding errors in the cost of a path: pruning widens the lattice beam by this much.
constexpr float kLatticeRounding = 1e-4f;

// The lattice of a search: one arc per step. Arcs lead from lower to higher states and are sorted by source
// state; state 0 is the start state.
struct StateLattice {
  struct Arc {
    int32_t from;
    int32_t to;
    int32_t ilabel;  // token of the net + 1, or 0 (epsilon) if the step consumes no frame
    int32_t olabel;  // word, or 0
    float graph;     // graph cost and penalties
    float acoustic;  // acoustic cost of the frame
    float boost;     // cost of the phrases by this step: negative for a gain
  };
  struct Final {
    int32_t state;
    float graph;
    float acoustic;  // of frames skipped at the end
    float boost;
  };
  int32_t num_states = 0;
  std::vector<Arc> arcs;
  std::vector<Final> finals;
  std::vector<int32_t> frames;  // the frame of each emitting step of a path
  int64_t num_frames = 0;
  std::vector<int32_t> best;  // the words of the search's best path
  bool complete = false;      // paths end in final states
  float beam = 0;             // all paths within it are present; below the requested one if memory was short
};

// A lattice with each word sequence once, on its cheapest path. Deterministic: the arcs that leave a state
// have different words. Arcs lead from lower to higher states and are sorted by source state; state 0 is the
// start state.
struct WordLattice {
  struct Arc {
    int32_t from;
    int32_t to;
    int32_t word;
    float graph;
    float acoustic;
    float boost;
    uint32_t tokens_end;  // in `tokens`; they begin where those of the previous arc end
  };
  struct Final {
    int32_t state;
    float graph;
    float acoustic;
    float boost;
    uint32_t tokens_end;  // as above; they follow those of the arcs
  };
  int32_t num_states = 0;
  std::vector<Arc> arcs;
  std::vector<Final> finals;
  std::vector<int32_t> tokens;  // the alignment: one token of the net per searched frame
  float beam = 0;               // all paths within it are present; below the requested one at a limit
};

// Determinises over words. Paths whose cost is more than `beam` above the best are dropped. The beam shrinks
// if more than `max_arcs` arcs would be needed, or memory out of proportion to that number. The best path
// always remains.
WordLattice Determinize(const StateLattice& lattice, float beam, int64_t max_arcs);

}  // namespace asr::decoder
