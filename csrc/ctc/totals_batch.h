// A batch of net outputs and packed acceptors, on plain pointers.
#pragma once

#include <cstdint>

#include "wide.h"

namespace asr::ctc {

// The net's outputs x[t * stride_t + n * stride_n + v], natural log-probs, and the acceptor of each
// utterance.
template <class Scalar>
struct TotalsBatch {
  const Scalar* x;
  int64_t frames, batch, vocabulary, stride_t, stride_n;
  const int64_t* lengths;                        // (batch)
  const int64_t* graphs;                         // packed acceptors
  const int64_t* offsets;                        // (batch) of each utterance's acceptor, in words
  int64_t num_emitting, num_states, num_chunks;  // of the largest acceptor

  // Two rows of numbers, and the sums of the chunks.
  CTC_INLINE int64_t ScratchWords() const { return 2 * (2 * num_states + num_chunks); }
  // Words of 8 bytes per utterance: the total, alpha of each frame, room for the scratch.
  CTC_INLINE int64_t StateWords(bool goes_back) const {
    return 2 + (goes_back ? frames * num_emitting : 0) + ScratchWords();
  }
};

}  // namespace asr::ctc
