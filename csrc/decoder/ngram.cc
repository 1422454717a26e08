#include "ngram.h"

#include <cmath>

#include "costs.h"
#include "mapped_file.h"

namespace asr::decoder {

Ngram::Ngram(const void* data, size_t num_bytes) {
  MappedFile file(data, num_bytes, "packed n-gram model");
  header_ = file.TakeHeader<Header>("asrngram");
  states_ = file.Take<State>(uint64_t{num_states()} + 1);
  arcs_ = file.Take<Arc>(header_->num_arcs);
  file.Take<char>(header_->words_bytes);
  file.Finish();
  file.RequireCount(num_states(), "states");
  file.RequireCount(header_->num_arcs, "arcs");
  file.Expect(num_words() <= header_->words_bytes, "it has fewer names than words");
  file.RequireCount(num_words(), "words");
  file.Expect(start() < num_states(), "its start state does not exist");
  file.Expect(states_[0].arc_begin == 0 && states_[num_states()].arc_begin == header_->num_arcs,
              "its states do not cover all arcs");
  for (uint32_t s = 0; s < num_states(); ++s) {
    const State& state = states_[s];
    file.Expect(state.arc_begin <= states_[s + 1].arc_begin && states_[s + 1].arc_begin <= header_->num_arcs,
                "the arcs of a state are out of range");
    file.Expect(s == 0 || state.shorter < s, "a state backs off to a longer history");
    file.Expect(std::isfinite(state.backoff) && state.final_cost > -kInfinity, "a cost is not a number");
    for (const Arc* arc = begin(s); arc != end(s); ++arc) {
      file.Expect(arc->word < num_words() && arc->next < num_states(), "an arc is out of range");
      file.Expect(std::isfinite(arc->cost), "a cost is not a number");
      file.Expect(arc == begin(s) || arc[-1].word < arc->word, "the arcs of a state are not sorted by word");
    }
  }
}

}  // namespace asr::decoder
