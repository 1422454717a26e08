#include "graph.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace asr {
namespace {

constexpr char kMagic[] = "asrgraph";
constexpr uint32_t kVersion = 1;

[[noreturn]] void Refuse(const std::string& what) { throw std::invalid_argument(what); }

std::string Number(double value) {
  std::string text = std::to_string(value);
  return text.substr(0, text.find(".000000"));
}

void CheckHeader(const void* data, size_t num_bytes) {
  if (num_bytes < sizeof(Header)) {
    Refuse("the graph has " + Number(num_bytes) +
           " bytes, fewer than its header's 64; the file is cut short");
  }
  const auto& header = *static_cast<const Header*>(data);
  if (std::memcmp(header.magic, kMagic, sizeof(header.magic)) != 0) {
    Refuse("not a packed graph: it does not start with 'asrgraph'; make it with asr.graph.pack");
  }
  if (header.version != kVersion) {
    Refuse("the graph's format has version " + Number(header.version) +
           ", this program reads 1; pack it again");
  }
  const uint64_t layout =
      sizeof(Header) + sizeof(State) * uint64_t{header.num_states} + sizeof(Arc) * uint64_t{header.num_arcs};
  if (header.num_bytes != layout || num_bytes != layout) {
    Refuse("the graph has " + Number(num_bytes) + " bytes and its header tells of " + Number(layout) +
           "; the file is cut short or damaged");
  }
  constexpr uint32_t kMaxStates = std::numeric_limits<int32_t>::max();
  if (header.num_states == 0 || header.num_states > kMaxStates || header.start >= header.num_states) {
    Refuse("the graph's start state is " + Number(header.start) + " of " + Number(header.num_states) +
           " states");
  }
  if (header.is_implicit > 1) Refuse("the graph's header has a topology that this program does not know");
  if (header.max_ilabel < 0 || header.max_olabel < 0 || header.max_ilabel > kMaxLabel)
    Refuse("the graph's header has a largest label that is none");
}

bool IsGood(const Arc& arc, const Header& header, bool is_emitting) {
  const bool is_misplaced_blank = header.is_implicit != 0 && arc.ilabel == kBlankLabel;
  return (arc.ilabel > 0) == is_emitting && !is_misplaced_blank &&
         uint32_t(arc.ilabel) <= uint32_t(header.max_ilabel) &&
         uint32_t(arc.olabel) <= uint32_t(header.max_olabel) && uint32_t(arc.next) < header.num_states &&
         std::isfinite(arc.cost);
}

// The names of what `IsGood` found, for the message.
[[noreturn]] void RefuseArc(uint32_t state, const Arc& arc) {
  Refuse("state " + Number(state) + " of the graph has an arc out of range or out of place: input " +
         Number(arc.ilabel) + ", output " + Number(arc.olabel) + ", cost " + Number(arc.cost) +
         ", next state " + Number(arc.next) + "; the file is damaged, pack the graph again");
}

[[noreturn]] void RefuseRange(uint32_t state) {
  Refuse("the arcs of state " + Number(state) +
         " lie outside their place; the file is damaged, pack the graph again");
}

}  // namespace

Graph::Graph(const void* data, size_t num_bytes, bool check_all) {
  CheckHeader(data, num_bytes);
  header_ = static_cast<const Header*>(data);
  states_ = reinterpret_cast<const State*>(header_ + 1);
  arcs_ = reinterpret_cast<const Arc*>(states_ + header_->num_states);
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
  if (arc_begin != header_->num_arcs) {
    Refuse("the states have " + Number(arc_begin) + " arcs and the header tells of " +
           Number(header_->num_arcs));
  }
}

void Graph::CheckState(int32_t s) const {
  const State& state = states_[s];
  const uint64_t emitting_end = uint64_t{state.arc_begin} + state.num_emitting;
  const uint64_t arc_end = emitting_end + state.num_epsilon;
  if (arc_end > header_->num_arcs) RefuseRange(s);
  if (!(state.final_cost > -std::numeric_limits<float>::infinity())) {
    Refuse("state " + Number(s) + " has the final cost " + Number(state.final_cost) +
           "; it must be finite, or +infinity");
  }
  for (uint64_t a = state.arc_begin; a < arc_end; ++a) {
    if (!IsGood(arcs_[a], *header_, a < emitting_end)) RefuseArc(s, arcs_[a]);
  }
  if (own_marks_ != nullptr) own_marks_[s].store(1, std::memory_order_release);
}

}  // namespace asr
