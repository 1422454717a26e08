// Weighted acceptors over net outputs, and the total weight of their paths: the sums of LF-MMI.
//
// States 0..num_emitting-1 consume one frame each, and have a label. The others consume none; an arc to one
// of them comes from a state with a lower number. Weights are probabilities, or at least nonnegative.
#pragma once

#include <cstdint>
#include <vector>

#include "wide.h"

namespace asr::ctc {

// The arcs of each state, in one direction: those of state s are first[s]..first[s + 1] - 1.
struct Arcs {
  std::vector<int32_t> first, state;  // state: at the other end
  std::vector<double> plain;          // weights; valid only if the acceptor is_plain
  std::vector<Wide<double>> wide;     // the same weights
};

struct Acceptor {
  int64_t num_emitting = 0, num_states = 0;
  std::vector<int32_t> outputs;  // the different labels
  std::vector<int32_t> labels;   // (num_emitting) indices of `outputs`
  Arcs in, out;
  std::vector<Wide<double>> start, end;  // (num_states) of beginning and of ending without a further frame
  double log_empty = 0;                  // log weight of the path without frames
  bool is_plain = false;                 // weights are far from the limits of double
};

// x[(t * batch + n) * vocabulary + v]: natural log-probs.
struct Outputs {
  const double* x;
  int64_t frames, batch, vocabulary;
  const int64_t* lengths;  // (batch)

  CTC_INLINE const double* row(int64_t t, int64_t n) const { return x + (t * batch + n) * vocabulary; }
};

// totals[n]: the log of the summed weight of all paths of graphs[n], or of graphs[0] if is_shared, through
// utterance n. -inf without a path; NaN if a log-prob of a label is NaN or above kHighest. occupancy[t, n,
// v], zero on entry or null: d totals[n] / d x[t, n, v], the posterior of label v in frame t. Results do not
// depend on the number of threads.
void ComputeTotals(const std::vector<const Acceptor*>& graphs, bool is_shared, const Outputs& x,
                   double* totals, double* occupancy, int threads);

}  // namespace asr::ctc
