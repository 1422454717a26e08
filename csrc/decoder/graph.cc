#include "graph.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "costs.h"
#include "huge_pages.h"
#include "mapped_file.h"

namespace asr::decoder {
namespace {

[[noreturn]] void Refuse(const std::string& fault) { throw std::invalid_argument(fault); }

std::string Format(double value) {
  std::string text = std::to_string(value);
  return text.substr(0, text.find(".000000"));
}

bool IsGood(const Arc& arc, const Header& header, bool is_emitting) {
  const bool is_misplaced_blank = header.is_implicit != 0 && arc.ilabel == kBlankLabel;
  return (arc.ilabel > 0) == is_emitting && !is_misplaced_blank &&
         uint32_t(arc.ilabel) <= uint32_t(header.max_ilabel) &&
         uint32_t(arc.olabel) <= uint32_t(header.max_olabel) && uint32_t(arc.next) < header.num_states &&
         std::isfinite(arc.cost);
}

[[noreturn]] void RefuseArc(uint32_t state, const Arc& arc) {
  Refuse("state " + Format(state) + " of the graph has an arc that is out of range or out of place: input " +
         Format(arc.ilabel) + ", output " + Format(arc.olabel) + ", cost " + Format(arc.cost) +
         ", next state " + Format(arc.next) + "; the file is damaged, run `asr graph` again");
}

[[noreturn]] void RefuseRange(uint32_t state) {
  Refuse("the arcs of state " + Format(state) +
         " of the graph are out of range; the file is damaged, run `asr graph` again");
}

}  // namespace

Graph::Graph(const void* data, size_t num_bytes, bool check_all) {
  MappedFile file(data, num_bytes, "graph");
  PreferHugePages(data, num_bytes);
  header_ = file.TakeHeader<Header>("asrgraph");
  states_ = file.Take<State>(header_->num_states);
  arcs_ = file.Take<Arc>(header_->num_arcs);
  file.Finish();
  file.RequireCount(header_->num_states, "states");
  file.RequireCount(header_->num_arcs, "arcs");
  file.Expect(header_->start < header_->num_states, "its start state does not exist");
  file.Expect(header_->is_implicit <= 1, "its topology is unknown");
  file.Expect(header_->max_ilabel >= 0 && header_->max_olabel >= 0 && header_->max_ilabel <= kMaxLabel,
              "its largest label is out of range");
  if (!check_all) {
    own_marks_.reset(new std::atomic<uint8_t>[header_->num_states]());
    is_checked_ = own_marks_.get();
    return;
  }
  uint64_t arc_begin = 0;
  for (uint32_t s = 0; s < header_->num_states; ++s) {
    if (states_[s].arc_begin != arc_begin) RefuseRange(s);
    Graph::CheckState(static_cast<int32_t>(s));
    arc_begin += uint64_t{states_[s].num_emitting} + states_[s].num_epsilon;
  }
  file.Expect(arc_begin == header_->num_arcs, "its states do not cover all arcs");
}

void Graph::CheckState(int32_t s) const {
  const State& state = states_[s];
  const uint64_t emitting_end = uint64_t{state.arc_begin} + state.num_emitting;
  const uint64_t arc_end = emitting_end + state.num_epsilon;
  if (arc_end > header_->num_arcs) RefuseRange(s);
  if (!(state.final_cost > -kInfinity)) {
    Refuse("state " + Format(s) + " of the graph has the final cost " + Format(state.final_cost) +
           ", expected a finite number or +infinity; the file is damaged, run `asr graph` again");
  }
  for (uint64_t a = state.arc_begin; a < arc_end; ++a) {
    if (!IsGood(arcs_[a], *header_, a < emitting_end)) RefuseArc(s, arcs_[a]);
  }
  if (own_marks_ != nullptr) own_marks_[s].store(1, std::memory_order_release);
}

}  // namespace asr::decoder
