#include "lazy_graph.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "costs.h"

namespace asr::decoder {
namespace {

// Limit for every graph, so that states and arcs can be numbered: 2^30 arcs of 16 bytes.
constexpr size_t kMaxBytes = size_t{1} << 34;
// In place of a tail's joint, these mark the keys of joints and of word ends.
constexpr uint64_t kJointKey = 0x80000000u;
constexpr uint64_t kWordEndKey = 0x80000001u;
// A graph reserves 1.5 times its limit; as much again must remain for other graphs.
constexpr size_t kAddressesPerByte = 3;

// The limit, halved until the address space (`ulimit -v`) has room for it.
size_t FitToAddresses(size_t max_bytes) {
  for (;; max_bytes /= 2) {
    void* const memory = ReserveAddresses(kAddressesPerByte * max_bytes + 1);
    if (memory != nullptr) munmap(memory, kAddressesPerByte * max_bytes + 1);
    if (memory != nullptr || max_bytes == 0) return max_bytes;
  }
}

}  // namespace

LazyGraph::LazyGraph(const Vocabulary& vocabulary, size_t max_bytes)
    : vocabulary_(vocabulary),
      max_bytes_(FitToAddresses(std::min(max_bytes, kMaxBytes))),
      own_states_(max_bytes_ / kStateBytes + 1),
      own_arcs_(max_bytes_ / sizeof(Arc) + 1),
      is_grown_(max_bytes_ / kStateBytes + 1) {
  own_header_.is_implicit = 1;
  own_header_.max_ilabel = vocabulary.max_ilabel();
  own_header_.max_olabel = vocabulary.max_olabel();
  header_ = &own_header_;
  states_ = own_states_.data();
  arcs_ = own_arcs_.data();
  is_checked_ = is_grown_.data();
  is_by_cost_ = true;
  own_states_.AskForHugePages();
  own_arcs_.AskForHugePages();
  is_grown_.AskForHugePages();
  own_header_.start = static_cast<uint32_t>(Joint(HistoryContext(vocabulary.ngram().start())));
}

LazyGraph::Size LazyGraph::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {origins_.size(), own_arcs_.size(), NumBytes(), is_full_};
}

size_t LazyGraph::NumBytes() const {
  return origins_.size() * kStateBytes + own_arcs_.size() * sizeof(Arc) + contexts_.size() * sizeof(Context) +
         num_leaves_ * sizeof(Leaf) + numbers_.NumBytes() + context_numbers_.NumBytes();
}

// Throws if `num_bytes` more would exceed the limit.
void LazyGraph::RequireBytes(size_t num_bytes) const {
  if (NumBytes() + num_bytes > max_bytes_) Refuse();
}

void LazyGraph::Refuse() const {
  throw std::invalid_argument("the dynamic graph has reached its limit of " +
                              std::to_string(max_bytes_ >> 20) +
                              " MB for one utterance; decode shorter pieces or use a smaller beam");
}

void LazyGraph::CheckState(int32_t state) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_grown_.data()[state].load(std::memory_order_relaxed) == 0) const_cast<LazyGraph*>(this)->Grow(state);
}

void LazyGraph::Grow(int32_t state) {
  if (is_full_) Refuse();
  is_full_ = true;  // until the state is complete: if this throws, no search sees a part of it
  grown_.clear();
  const Origin origin = origins_[state];
  float final_cost = kInfinity;
  const Ngram& ngram = vocabulary_.ngram();
  switch (origin.kind) {
    case Kind::kJoint: {
      const Context& context = contexts_[origin.context];
      const bool may_end = !context.is_slot && (vocabulary_.tree().separator() == 0 ||
                                                static_cast<uint32_t>(state) == own_header_.start);
      if (may_end) final_cost = ngram.state(context.history).final_cost;
      GrowJoint(state, origin);
      break;
    }
    case Kind::kWordEnd: {
      const Context context = contexts_[origin.context];
      AddArc(vocabulary_.tree().separator(), 0, 0.0f, Joint(origin.context));
      if (!context.is_slot) {
        final_cost = ngram.state(context.history).final_cost;
      } else if (const float leaving = vocabulary_.place(context.place).final_cost; leaving < kInfinity) {
        AddArc(kEpsilonLabel, 0, leaving, WordEnd(HistoryContext(context.history)));
      }
      break;
    }
    case Kind::kNode: {
      const Context context = contexts_[origin.context];
      GrowRange(context, origin, CostOf(*context.leaves, origin.begin, origin.end));
      break;
    }
    case Kind::kTail: {
      const Tree::Suffix suffix = vocabulary_.suffix(origin.begin);
      AddArc(static_cast<int32_t>(suffix.label), 0, 0.0f,
             Tail(suffix.next, static_cast<int32_t>(origin.end)));
      break;
    }
  }
  RequireBytes(grown_.size() * sizeof(Arc));
  const auto epsilon =
      std::find_if(grown_.begin(), grown_.end(), [](const Arc& arc) { return arc.ilabel == kEpsilonLabel; });
  std::stable_sort(grown_.begin(), epsilon, [](const Arc& a, const Arc& b) { return a.cost < b.cost; });
  const size_t arc_begin = own_arcs_.size();
  own_arcs_.Grow(grown_.size());
  for (size_t a = 0; a < grown_.size(); ++a) own_arcs_[arc_begin + a] = grown_[a];
  const auto num_emitting = static_cast<uint32_t>(epsilon - grown_.begin());
  const auto num_epsilon = static_cast<uint32_t>(grown_.end() - epsilon);
  own_states_[state] = {static_cast<uint32_t>(arc_begin), num_emitting, num_epsilon, final_cost};
  is_grown_[state].store(1, std::memory_order_release);
  is_full_ = false;
}

// Adds the epsilon arcs last.
void LazyGraph::GrowJoint(int32_t state, const Origin& origin) {
  if (contexts_[origin.context].leaves == nullptr) {
    const uint32_t history = contexts_[origin.context].history;
    Leaves leaves = vocabulary_.AfterHistory(history);
    RequireBytes(leaves.size() * sizeof(Leaf));
    num_leaves_ += leaves.size();
    contexts_[origin.context].leaves = &leaves_.emplace(history, std::move(leaves)).first->second;
  }
  const Context context = contexts_[origin.context];
  const auto num_leaves = static_cast<uint32_t>(context.leaves->size()) - 1;
  const Origin whole = {Kind::kNode, origin.context, 0, num_leaves, 0};
  if (context.is_slot) {
    GrowInSlot(state, context, whole);
    return;
  }
  if (const int32_t silence = vocabulary_.tree().silence(); silence != 0) AddArc(silence, 0, 0.0f, state);
  GrowRange(context, whole, 0.0f);
  const Ngram::State& history = vocabulary_.ngram().state(context.history);
  if (context.history != 0) AddArc(kEpsilonLabel, 0, history.backoff, Joint(HistoryContext(history.shorter)));
  for (const Vocabulary::Opening& opening : vocabulary_.Openings(context.history))
    AddArc(kEpsilonLabel, 0, opening.cost, Joint(SlotContext(opening.place, opening.next)));
}

// The words at a place in a slot. With a separator, the slot is left at the end of a word instead.
void LazyGraph::GrowInSlot(int32_t state, const Context& context, const Origin& whole) {
  const Vocabulary::Place& place = vocabulary_.place(context.place);
  if (place.is_first) {
    GrowRange(context, whole, CostOf(*context.leaves, 0, whole.end));  // paid on entering the slot
    return;
  }
  const Tree& tree = vocabulary_.tree();
  if (tree.silence() != 0) AddArc(tree.silence(), 0, 0.0f, state);
  GrowRange(context, whole, 0.0f);
  if (tree.separator() == 0 && place.final_cost < kInfinity)
    AddArc(kEpsilonLabel, 0, place.final_cost, Joint(HistoryContext(context.history)));
}

// Adds the arcs to the children of a range of leaves. `paid` is the part of their costs paid before.
void LazyGraph::GrowRange(const Context& context, const Origin& range, float paid) {
  const Leaves& leaves = *context.leaves;
  const uint32_t depth = range.depth;
  const bool has_separator = vocabulary_.tree().separator() != 0;
  for (uint32_t begin = range.begin; begin < range.end;) {
    const uint32_t end = EndOfRun(leaves, begin, range.end, depth);
    const int32_t label = vocabulary_.label(leaves[begin].spelling, depth);
    for (; begin < end; ++begin) {
      const Leaf& leaf = leaves[begin];
      const bool ends = vocabulary_.length(leaf.spelling) == depth + 1;
      if (!ends && begin + 1 < end) break;
      const uint32_t after = ContextAfter(context, leaf);
      int32_t next = has_separator ? WordEnd(after) : Joint(after);
      if (!ends) next = Tail(vocabulary_.suffix(leaf.spelling, depth + 1), next);
      AddArc(label, static_cast<int32_t>(vocabulary_.word(leaf.spelling)), leaf.cost - paid, next);
    }
    if (begin == end) continue;
    const int32_t node = NewState({Kind::kNode, range.context, begin, end, depth + 1});
    AddArc(label, 0, CostOf(leaves, begin, end) - paid, node);
    begin = end;
  }
}

// The end of the run of leaves from `begin` with the same label at `depth`: galloping, then binary search.
uint32_t LazyGraph::EndOfRun(const Leaves& leaves, uint32_t begin, uint32_t end, uint32_t depth) const {
  const int32_t label = vocabulary_.label(leaves[begin].spelling, depth);
  const auto is_other = [&](uint32_t i) { return vocabulary_.label(leaves[i].spelling, depth) != label; };
  uint32_t same = begin, step = 1;
  while (same + step < end && !is_other(same + step)) {
    same += step;
    step *= 2;
  }
  uint32_t other = std::min(end, same + step);
  while (same + 1 < other) {
    const uint32_t middle = same + (other - same) / 2;
    (is_other(middle) ? other : same) = middle;
  }
  return other;
}

int32_t LazyGraph::NewState(const Origin& origin) {
  RequireBytes(kStateBytes);
  origins_.push_back(origin);
  own_states_.Grow(1);
  is_grown_.Grow(1);
  return static_cast<int32_t>(origins_.size()) - 1;
}

// Adds the state before its key, so that a key never refers to a missing state if adding throws.
int32_t LazyGraph::Find(uint64_t key, const Origin& origin) {
  if (const uint32_t* number = numbers_.Find(key)) return static_cast<int32_t>(*number);
  const int32_t state = NewState(origin);
  numbers_.Add(key, static_cast<uint32_t>(state));
  return state;
}

int32_t LazyGraph::Joint(uint32_t context) {
  return Find(uint64_t{context} << 32 | kJointKey, {Kind::kJoint, context, 0, 0, 0});
}

int32_t LazyGraph::WordEnd(uint32_t context) {
  return Find(uint64_t{context} << 32 | kWordEndKey, {Kind::kWordEnd, context, 0, 0, 0});
}

int32_t LazyGraph::Tail(uint32_t suffix, int32_t joint) {
  if (suffix == 0) return joint;
  const auto target = static_cast<uint32_t>(joint);
  return Find(uint64_t{suffix} << 32 | target, {Kind::kTail, 0, suffix, target, 0});
}

uint32_t LazyGraph::HistoryContext(uint32_t history) {
  const Leaves* shared = history == 0 ? &vocabulary_.AfterEmptyHistory() : nullptr;
  return FindContext(history, {shared, false, history, 0});
}

uint32_t LazyGraph::SlotContext(uint32_t place, uint32_t history) {
  return FindContext((uint64_t{place} + 1) << 32 | history,
                     {&vocabulary_.place(place).leaves, true, history, place});
}

// The context after a leaf of `context`.
uint32_t LazyGraph::ContextAfter(const Context& context, const Leaf& leaf) {
  if (!context.is_slot) return HistoryContext(leaf.next);
  return leaf.next == Vocabulary::kSlotEnd ? HistoryContext(context.history)
                                           : SlotContext(leaf.next, context.history);
}

uint32_t LazyGraph::FindContext(uint64_t key, const Context& context) {
  if (const uint32_t* number = context_numbers_.Find(key)) return *number;
  contexts_.push_back(context);
  context_numbers_.Add(key, static_cast<uint32_t>(contexts_.size()) - 1);
  return static_cast<uint32_t>(contexts_.size()) - 1;
}

}  // namespace asr::decoder
