#include "ngram.h"

#include <cmath>
#include <limits>
#include <string>

#include "mapped_file.h"

namespace asr {

Ngram::Ngram(const void* data, size_t num_bytes) {
  Parts parts(data, num_bytes, "packed n-gram model");
  header_ = parts.TakeHeader<Header>("asrngram");
  states_ = parts.Take<State>(uint64_t{num_states()} + 1);
  arcs_ = parts.Take<Arc>(header_->num_arcs);
  parts.Take<char>(header_->words_bytes);
  const auto expect = [&parts](bool is_good, const char* what) {
    if (!is_good) parts.Refuse(std::string("is damaged: ") + what);
  };
  expect(start() < num_states(), "its start is no state");
  expect(states_[0].arc_begin == 0 && states_[num_states()].arc_begin == header_->num_arcs, "arcs are lost");
  for (uint32_t s = 0; s < num_states(); ++s) {
    const State& state = states_[s];
    expect(state.arc_begin <= states_[s + 1].arc_begin && states_[s + 1].arc_begin <= header_->num_arcs,
           "the arcs of a state lie elsewhere");
    expect(s == 0 || state.shorter < s, "a state backs off to a longer one");
    expect(std::isfinite(state.backoff) && state.final_cost > -std::numeric_limits<float>::infinity(),
           "a cost is no number");
    for (const Arc* arc = begin(s); arc != end(s); ++arc) {
      expect(arc->word < num_words() && arc->next < num_states(), "an arc is out of range");
      expect(std::isfinite(arc->cost), "a cost is no number");
    }
  }
}

}  // namespace asr
