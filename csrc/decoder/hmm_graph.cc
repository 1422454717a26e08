#include "hmm_graph.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace asr::decoder {
namespace {

constexpr float kNotFinal = std::numeric_limits<float>::infinity();
constexpr int32_t kNothing = -1;  // the context of an arc that passes no HMM
constexpr int64_t kNoPhone = -1;  // what an epsilon arc reads

// The states of the shared HMMs, and all others, are numbered in 32 bits.
void CheckCount(size_t count, const char* what) {
  if (count > size_t{std::numeric_limits<int32_t>::max()})
    throw std::invalid_argument("the graph has 2^31 or more " + std::string(what));
}

}  // namespace

HmmExpander::HmmExpander(std::vector<uint8_t> asks, std::vector<std::vector<double>> costs)
    : size_(static_cast<int64_t>(asks.size())),
      asks_(std::move(asks)),
      has_contexts_(std::any_of(asks_.begin(), asks_.end(), [](uint8_t any) { return any != 0; })),
      costs_(std::move(costs)) {}

std::optional<Columns> HmmExpander::Expand(const ColumnsView& graph, int64_t most_arcs, const Find& find) {
  const std::lock_guard<std::mutex> turn(mutex_);
  Paired paired;
  if (graph.num_states > 0 && has_contexts_) {
    const std::optional<Reached> reached = Reach(graph, most_arcs);
    if (!reached) return std::nullopt;
    paired = Pair(graph, *reached, find);
  } else {
    paired = Alone(graph, find);
  }
  const SharedHmms shared = Share(paired);
  Columns found;
  found.start = paired.start;
  const std::vector<PairedArc>& arcs = paired.arcs;
  for (size_t begin = 0, end = 0; begin < arcs.size(); begin = end) {
    while (end < arcs.size() && arcs[end].source == arcs[begin].source) ++end;
    for (size_t a = begin; a < end; ++a)
      if (shared.of_arc[a] < 0) found.Add(arcs[a].source, 0, arcs[a].olabel, arcs[a].cost, arcs[a].target);
    for (size_t a = begin; a < end; ++a) {
      const int32_t place = shared.of_arc[a];
      if (place < 0) continue;
      const PhoneHmm& hmm = hmms_[shared.hmms[place].first];
      for (size_t to = 0; to < hmm.labels.size(); ++to)
        if (hmm.costs[to] < kNotFinal)
          found.Add(arcs[a].source, hmm.labels[to], arcs[a].olabel,
                    static_cast<float>(arcs[a].cost + hmm.costs[to]),
                    shared.first_state[place] + static_cast<int32_t>(to));
    }
  }
  for (size_t place = 0; place < shared.hmms.size(); ++place) {
    const auto [number, target] = shared.hmms[place];
    const PhoneHmm& hmm = hmms_[number];
    const auto size = static_cast<int32_t>(hmm.labels.size());
    const double* cost = &hmm.costs[size + 1];
    for (int32_t from = 0; from < size; ++from)
      for (int32_t to = 0; to <= size; ++to, ++cost)
        if (*cost < kNotFinal)
          found.Add(shared.first_state[place] + from, to < size ? hmm.labels[to] : 0, 0,
                    static_cast<float>(*cost), to < size ? shared.first_state[place] + to : target);
  }
  CheckCount(found.source.size(), "arcs");
  found.final_costs = std::move(paired.final_costs);
  found.final_costs.resize(shared.first_state.back(), kNotFinal);
  return found;
}

// Phones sound the same everywhere.
HmmExpander::Paired HmmExpander::Alone(const ColumnsView& graph, const Find& find) {
  Paired found;
  found.start = graph.start;
  found.final_costs.assign(graph.final_costs, graph.final_costs + graph.num_states);
  for (size_t s = 0; s < graph.num_states; ++s)
    for (int64_t a = graph.first[s]; a < graph.first[s + 1]; ++a) {
      const int64_t phone = Phone(graph.ilabel[a]);
      found.arcs.push_back({static_cast<int32_t>(s), phone > 0 ? Context(0, phone, 0, find) : kNothing,
                            graph.olabel[a], graph.cost[a], graph.target[a]});
    }
  return found;
}

std::optional<HmmExpander::Reached> HmmExpander::Reach(const ColumnsView& graph, int64_t most_arcs) const {
  Reached found;
  int64_t num_arcs = 0;
  auto add = [&](int64_t code) {
    if (found.numbers.Find(code) != nullptr) return;
    found.numbers.Add(code, static_cast<uint32_t>(found.codes.size()));
    found.codes.push_back(code);
    CheckCount(found.codes.size(), "states");
  };
  add(graph.start * size_ * size_);
  for (size_t n = 0; n < found.codes.size(); ++n) {
    const int64_t state = found.codes[n] / (size_ * size_), last = found.codes[n] % (size_ * size_);
    num_arcs += graph.first[state + 1] - graph.first[state];
    if (most_arcs >= 0 && num_arcs > most_arcs) return std::nullopt;
    for (int64_t a = graph.first[state]; a < graph.first[state + 1]; ++a)
      add(After(graph.target[a], last, Phone(graph.ilabel[a])));
  }
  return found;
}

// The pairs are numbered in ascending order. The state behind them is the end of all passages.
HmmExpander::Paired HmmExpander::Pair(const ColumnsView& graph, const Reached& reached, const Find& find) {
  std::vector<int64_t> sorted = reached.codes;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int32_t> place(sorted.size());  // in this order, of each pair in the order of reaching
  for (size_t p = 0; p < sorted.size(); ++p)
    place[*reached.numbers.Find(sorted[p])] = static_cast<int32_t>(p);
  auto number = [&](int64_t code) { return place[*reached.numbers.Find(code)]; };

  Paired found;
  found.start = number(graph.start * size_ * size_);
  const auto end = static_cast<int32_t>(sorted.size());
  for (int32_t s = 0; s < end; ++s) {
    const int64_t state = sorted[s] / (size_ * size_), last = sorted[s] % (size_ * size_);
    const int64_t left = last / size_, pending = last % size_;
    for (int64_t a = graph.first[state]; a < graph.first[state + 1]; ++a) {
      const int64_t read = Phone(graph.ilabel[a]);
      const bool passes = read != kNoPhone && pending > 0;
      found.arcs.push_back({s, passes ? Context(left, pending, read, find) : kNothing, graph.olabel[a],
                            graph.cost[a], number(After(graph.target[a], last, read))});
    }
    const float final_cost = graph.final_costs[state];
    if (pending > 0 && final_cost < kNotFinal)  // the last phone is passed at the end of the utterance
      found.arcs.push_back({s, Context(left, pending, 0, find), 0, final_cost, end});
    found.final_costs.push_back(pending > 0 ? kNotFinal : final_cost);
  }
  found.final_costs.push_back(0);
  return found;
}

int64_t HmmExpander::Phone(int32_t label) const {
  if (label < 0 || label > size_)
    throw std::invalid_argument("the graph has the label " + std::to_string(label) + ", and the HMMs have " +
                                std::to_string(size_ - 1) + " phones");
  return label == 0 ? kNoPhone : label - 1;
}

// The pair behind an arc to `state` that reads a phone. The phone before one that does not ask does not
// matter.
int64_t HmmExpander::After(int64_t state, int64_t last, int64_t read) const {
  const int64_t next = read == kNoPhone ? last : (asks_[read] ? last % size_ : 0) * size_ + read;
  return state * size_ * size_ + next;
}

int32_t HmmExpander::Context(int64_t left, int64_t phone, int64_t right, const Find& find) {
  const int64_t code = (left * size_ + phone) * size_ + right;
  if (const uint32_t* known = context_of_.Find(code)) return static_cast<int32_t>(*known);
  std::vector<int32_t> labels = find(left, phone, right);
  if (costs_[phone].size() != (labels.size() + 1) * (labels.size() + 1))
    throw std::invalid_argument("phone " + std::to_string(phone) + " has " + std::to_string(labels.size()) +
                                " labels and " + std::to_string(costs_[phone].size()) + " steps");
  const auto [hmm, is_new] = hmm_of_.try_emplace({phone, labels}, static_cast<int32_t>(hmms_.size()));
  if (is_new) hmms_.push_back({costs_[phone], std::move(labels)});
  const auto place = static_cast<int32_t>(contexts_.size());
  contexts_.emplace_back(code, hmm->second);
  context_of_.Add(code, place);
  return place;
}

// A number for each HMM that arcs pass, in the order of the first of their contexts.
std::vector<int32_t> HmmExpander::RankHmms(const std::vector<PairedArc>& arcs) const {
  std::vector<uint8_t> is_used(contexts_.size());
  std::vector<std::pair<int64_t, int32_t>> used;
  for (const PairedArc& arc : arcs)
    if (arc.context != kNothing && !is_used[arc.context]) {
      is_used[arc.context] = 1;
      used.push_back(contexts_[arc.context]);
    }
  std::sort(used.begin(), used.end());
  std::vector<int32_t> rank(hmms_.size(), -1);
  int32_t next = 0;
  for (const auto& [code, hmm] : used)
    if (rank[hmm] < 0) rank[hmm] = next++;
  return rank;
}

// Shared HMMs are numbered by target, then by the rank of the HMM.
HmmExpander::SharedHmms HmmExpander::Share(const Paired& paired) const {
  const std::vector<PairedArc>& arcs = paired.arcs;
  const std::vector<int32_t> rank = RankHmms(arcs);
  std::vector<size_t> first(paired.final_costs.size() + 1);
  for (const PairedArc& arc : arcs)
    if (arc.context != kNothing) ++first[arc.target + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::pair<int32_t, size_t>> entering(first.back());  // rank, arc; by target
  std::vector<size_t> next(first.begin(), first.end() - 1);
  for (size_t a = 0; a < arcs.size(); ++a)
    if (arcs[a].context != kNothing)
      entering[next[arcs[a].target]++] = {rank[contexts_[arcs[a].context].second], a};

  SharedHmms found;
  found.of_arc.assign(arcs.size(), kNothing);
  size_t state = paired.final_costs.size();
  for (size_t target = 0; target + 1 < first.size(); ++target) {
    const auto begin = entering.begin() + first[target], end = entering.begin() + first[target + 1];
    std::sort(begin, end);
    for (auto it = begin; it != end; ++it) {
      const int32_t hmm = contexts_[arcs[it->second].context].second;
      if (it == begin || it->first != (it - 1)->first) {
        found.hmms.emplace_back(hmm, static_cast<int32_t>(target));
        found.first_state.push_back(static_cast<int32_t>(state));
        state += hmms_[hmm].labels.size();
        CheckCount(state, "states");
      }
      found.of_arc[it->second] = static_cast<int32_t>(found.hmms.size()) - 1;
    }
  }
  found.first_state.push_back(static_cast<int32_t>(state));
  return found;
}

}  // namespace asr::decoder
