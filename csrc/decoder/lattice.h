// Lattices: many paths of one utterance in one acyclic graph.
#pragma once

#include <cstdint>
#include <vector>

namespace asr {

// What rounding may add to a path's cost; paths so near the lattice beam are kept.
constexpr float kLatticeRounding = 1e-4f;

// What a search kept: an arc for each step. Arcs lead from lower to higher states and lie in the order of
// their sources; state 0 is the start.
struct StateLattice {
  struct Arc {
    int32_t from;
    int32_t to;
    int32_t ilabel;  // token of the net + 1, or 0 where no frame passes
    int32_t olabel;  // word, or 0
    float graph;     // cost of the graph, penalties and boosts
    float acoustic;  // cost of the frame
  };
  struct Final {
    int32_t state;
    float graph;
    float acoustic;  // of frames that were passed over at the end
  };
  int32_t num_states = 0;
  std::vector<Arc> arcs;
  std::vector<Final> finals;
  std::vector<int32_t> frames;  // frame of each emitting step of a path
  int64_t num_frames = 0;
  bool complete = false;  // its ends are final states
  float beam = 0;         // its paths are those within; smaller than asked for when there were too many links
};

// Every word sequence once, on its cheapest path. Deterministic: the arcs that leave a state have different
// words. Arcs lead from lower to higher states and lie in the order of their sources; state 0 is the start.
struct WordLattice {
  struct Arc {
    int32_t from;
    int32_t to;
    int32_t word;
    float graph;
    float acoustic;
    uint32_t tokens_end;  // in `tokens`; they begin where those of the arc before end
  };
  struct Final {
    int32_t state;
    float graph;
    float acoustic;
    uint32_t tokens_end;  // as above, after those of the arcs
  };
  int32_t num_states = 0;
  std::vector<Arc> arcs;
  std::vector<Final> finals;
  std::vector<int32_t> tokens;  // of the net, one a searched frame: the alignment
  float beam = 0;               // the paths are those within it; smaller than asked for when memory ran out
};

// Determinises over words. `beam` is the cost above the best beyond which paths go; where more than
// `max_arcs` arcs are looked at, or memory in no proportion to so many is needed, it shrinks.
WordLattice Determinize(const StateLattice& lattice, float beam, int64_t max_arcs);

}  // namespace asr
