// An acceptor as one block of memory, which is copied to a GPU as it is.
//
// The sum over the arcs of a state is split into chunks, one per thread, so that a state with thousands of
// arcs does not keep the others waiting. Chunk j of a state with c chunks has its arcs j, j + c, j + 2 c and
// so on: neighbouring threads read neighbouring arcs.
//
// A level is a range of states whose sums do not depend on each other: level 0 has the states that consume a
// frame, the others those that consume none, each after those that lead to it.
#pragma once

#include <cstdint>
#include <vector>

#include "acceptor.h"

namespace asr::ctc {

struct alignas(16) PackedArc {
  double m;  // the weight m * 2^e
  int32_t e, state;
};

// Offsets in bytes from the beginning of the block.
struct PackedHeader {
  int64_t num_emitting, num_states, num_chunks;  // num_chunks: of the direction with more of them
  int64_t num_levels, num_outputs;
  double log_empty;
  int64_t labels, levels, outputs, output_first, output_states, start, end;
  struct Direction {
    int64_t chunk_first, chunk_state, first, arcs;
  } in, out;
};

// The arcs of one direction.
struct PackedArcs {
  const int32_t* chunk_first;  // (num_states + 1) of the chunks of each state
  const int32_t* chunk_state;  // (chunks) the state of each chunk
  const int32_t* first;        // (num_states + 1) of the arcs of each state
  const PackedArc* arcs;
};

struct PackedAcceptor {
  const char* base;

  template <class T>
  CTC_INLINE const T* At(int64_t offset) const {
    return reinterpret_cast<const T*>(base + offset);
  }
  CTC_INLINE const PackedHeader& header() const { return *At<PackedHeader>(0); }
  CTC_INLINE PackedArcs arcs(const PackedHeader::Direction& d) const {
    return {At<int32_t>(d.chunk_first), At<int32_t>(d.chunk_state), At<int32_t>(d.first),
            At<PackedArc>(d.arcs)};
  }
  CTC_INLINE PackedArcs in() const { return arcs(header().in); }
  CTC_INLINE PackedArcs out() const { return arcs(header().out); }
  CTC_INLINE const int32_t* labels() const {
    return At<int32_t>(header().labels);
  }  // (num_emitting) net outputs
  CTC_INLINE const int32_t* levels() const { return At<int32_t>(header().levels); }  // (num_levels + 1)
  // The different labels, and the states of each: those of outputs()[k] begin at output_first()[k].
  CTC_INLINE const int32_t* outputs() const { return At<int32_t>(header().outputs); }
  CTC_INLINE const int32_t* output_first() const { return At<int32_t>(header().output_first); }
  CTC_INLINE const int32_t* output_states() const { return At<int32_t>(header().output_states); }
  CTC_INLINE const Wide<double>* start() const { return At<Wide<double>>(header().start); }
  CTC_INLINE const Wide<double>* end() const { return At<Wide<double>>(header().end); }
};

// The block, in words of 8 bytes; it begins with a PackedHeader. Its address must be a multiple of 16.
std::vector<int64_t> Pack(const Acceptor& graph);

}  // namespace asr::ctc
