// Determinisation of a lattice over its words, after Povey et al., "Generating exact lattices in the WFST
// framework" (2012): best first, with the alignments carried along as strings.
//
// A state of the result is a set of elements: the states of the input that one word sequence reaches, each
// with its residual, which is the cost and the tokens of its cheapest path beyond those on the arcs of the
// result. Sets are normalised: the lowest cost and the common prefix of the tokens move to the incoming arc,
// so that equal sets become one state. A set holds only input states that are final or have an arc with a
// word; the others are passed through.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "costs.h"
#include "lattice.h"
#include "string_tree.h"

namespace asr::decoder {
namespace {

// Memory limit: the number of elements in all sets per arc of the result.
constexpr int64_t kElementsPerArc = 8;
// Costs are compared in steps of 1 / kGrid, above rounding errors. The cost of a reading may be off by half a
// step per word: 0.01 in 1,300 words.
constexpr double kGrid = 65536;

struct Weight {
  double graph = 0;
  double acoustic = 0;
  double boost = 0;
  double sum() const { return graph + acoustic + boost; }
};

template <class Costs>  // an arc or a final state of the input
Weight operator+(const Weight& a, const Costs& b) {
  return {a.graph + b.graph, a.acoustic + b.acoustic, a.boost + b.boost};
}

struct Element {
  int32_t state;
  int32_t string;
  Weight weight;
};

using Subset = std::vector<Element>;  // ascending states

// A word that leads from a state of the result to a set that has not been normalised.
struct Task {
  double priority;  // cost of the best complete path through it
  int32_t from;
  int32_t word;
  Subset reached;
};

class Determinizer {
 public:
  Determinizer(const StateLattice& lattice, float beam)
      : in_(lattice), beam_(double{beam} + kLatticeRounding) {
    Index();
    FindCostsToEnd();
  }

  WordLattice Run(int64_t max_arcs);

 private:
  // A state of the result.
  struct State {
    Subset subset;
    double cost;  // of the cheapest path that leads here
  };
  struct OutArc {
    int32_t to;
    int32_t word;
    Weight weight;
    std::vector<int32_t> tokens;
  };
  struct CostsMore {
    bool operator()(const Task& a, const Task& b) const { return a.priority > b.priority; }
  };

  void Index();
  void FindCostsToEnd();
  void Improve(std::map<int32_t, Element>* best, const Element& element) const;
  Subset Close(const Subset& reached, double cost);
  Element Normalize(Subset* subset);
  int32_t FindState(Subset subset, double cost);
  void Expand(int32_t state);
  WordLattice Order() const;
  bool HasFuture(int32_t state) const { return is_final_[state] || has_words_[state]; }

  const StateLattice& in_;
  const double beam_;
  std::vector<int32_t> arc_begin_;  // of each input state
  std::vector<Weight> final_;
  std::vector<bool> is_final_, has_words_;
  std::vector<double> to_end_;  // cost of the cheapest path from each input state to an end
  double best_ = 0;             // cost of the best path of the lattice
  int64_t num_elements_ = 0;    // in the sets of all states and tasks
  StringTree strings_;
  std::vector<State> states_;
  std::vector<std::vector<OutArc>> arcs_;            // of each state
  std::vector<OutArc> finals_;                       // of each state; to = -1: not final
  std::map<std::vector<int64_t>, int32_t> numbers_;  // a set with rounded costs -> its state
  std::priority_queue<Task, std::vector<Task>, CostsMore> tasks_;
};

void Determinizer::Index() {
  const auto n = static_cast<size_t>(in_.num_states);
  arc_begin_.assign(n + 1, 0);
  final_.assign(n, {});
  is_final_.assign(n, false);
  has_words_.assign(n, false);
  for (const StateLattice::Arc& arc : in_.arcs) {
    ++arc_begin_[arc.from + 1];
    if (arc.olabel != 0) has_words_[arc.from] = true;
  }
  std::partial_sum(arc_begin_.begin(), arc_begin_.end(), arc_begin_.begin());
  for (const StateLattice::Final& end : in_.finals) {
    is_final_[end.state] = true;
    final_[end.state] = {end.graph, end.acoustic, end.boost};
  }
}

void Determinizer::FindCostsToEnd() {
  to_end_.assign(in_.num_states, kInfinity);
  for (int32_t s = in_.num_states; s-- > 0;) {
    if (is_final_[s]) to_end_[s] = final_[s].sum();
    for (int32_t a = arc_begin_[s]; a < arc_begin_[s + 1]; ++a) {
      const StateLattice::Arc& arc = in_.arcs[a];
      to_end_[s] = std::min(to_end_[s], (Weight{} + arc).sum() + to_end_[arc.to]);
    }
  }
  best_ = to_end_.empty() ? kInfinity : to_end_[0];
}

void Determinizer::Improve(std::map<int32_t, Element>* best, const Element& element) const {
  const auto [place, is_new] = best->try_emplace(element.state, element);
  if (is_new) return;
  Element& old = place->second;
  // Of paths with equal cost the one with the smaller string, so that the result is the same on every run.
  if (std::make_pair(element.weight.sum(), element.string) < std::make_pair(old.weight.sum(), old.string))
    old = element;
}

// The closure of a set reached at `cost` over arcs without a word, without states that are not final and have
// no words.
Subset Determinizer::Close(const Subset& reached, double cost) {
  std::map<int32_t, Element> open;  // by state, which is topological order
  for (const Element& element : reached) open.emplace(element.state, element);
  Subset closed;
  while (!open.empty()) {
    const Element element = open.begin()->second;
    open.erase(open.begin());
    if (HasFuture(element.state)) closed.push_back(element);
    for (int32_t a = arc_begin_[element.state]; a < arc_begin_[element.state + 1]; ++a) {
      const StateLattice::Arc& arc = in_.arcs[a];
      if (arc.olabel != 0) continue;
      const Weight weight = element.weight + arc;
      if (cost + weight.sum() + to_end_[arc.to] > best_ + beam_) continue;
      const int32_t string =
          arc.ilabel == 0 ? element.string : strings_.Append(element.string, arc.ilabel - 1);
      Improve(&open, {arc.to, string, weight});
    }
  }
  return closed;
}

// Subtracts the lowest cost and removes the common prefix from all elements; returns both.
Element Determinizer::Normalize(Subset* subset) {
  const auto least = std::min_element(subset->begin(), subset->end(), [](const Element& a, const Element& b) {
    return a.weight.sum() < b.weight.sum();
  });
  Element common{-1, subset->front().string, least->weight};
  for (const Element& element : *subset) common.string = strings_.Common(common.string, element.string);
  const int32_t length = strings_.Length(common.string);
  for (Element& element : *subset) {
    element.weight.graph -= common.weight.graph;
    element.weight.acoustic -= common.weight.acoustic;
    element.weight.boost -= common.weight.boost;
    element.string = strings_.WithoutFirst(element.string, length);
  }
  return common;
}

// The number of the state of a set; adds the state if it is new.
int32_t Determinizer::FindState(Subset subset, double cost) {
  std::vector<int64_t> key;
  for (const Element& element : subset) {
    key.insert(key.end(), {element.state, element.string, std::llround(element.weight.graph * kGrid),
                           std::llround(element.weight.acoustic * kGrid)});
  }
  const auto [number, is_new] = numbers_.try_emplace(std::move(key), static_cast<int32_t>(states_.size()));
  if (is_new) {
    num_elements_ += static_cast<int64_t>(subset.size());
    states_.push_back({std::move(subset), cost});
    Expand(number->second);
  }
  return number->second;
}

// Finds the final cost of a new state and the tasks that lead on from it.
void Determinizer::Expand(int32_t number) {
  const State& state = states_[number];
  double best_end = kInfinity;
  OutArc end{-1, 0, {}, {}};
  std::map<int32_t, std::map<int32_t, Element>> by_word;
  for (const Element& element : state.subset) {
    if (is_final_[element.state] && element.weight.sum() + final_[element.state].sum() < best_end) {
      const Weight& last = final_[element.state];
      best_end = element.weight.sum() + last.sum();
      end = {number, 0, element.weight + last, strings_.Tokens(element.string, 0)};
    }
    for (int32_t a = arc_begin_[element.state]; a < arc_begin_[element.state + 1]; ++a) {
      const StateLattice::Arc& arc = in_.arcs[a];
      if (arc.olabel == 0) continue;
      const Weight weight = element.weight + arc;
      if (state.cost + weight.sum() + to_end_[arc.to] > best_ + beam_) continue;
      const int32_t string =
          arc.ilabel == 0 ? element.string : strings_.Append(element.string, arc.ilabel - 1);
      Improve(&by_word[arc.olabel], {arc.to, string, weight});
    }
  }
  if (state.cost + best_end > best_ + beam_) end.to = -1;
  finals_.push_back(end);
  arcs_.emplace_back();
  for (const auto& [word, elements] : by_word) {
    Task task{kInfinity, number, word, {}};
    for (const auto& [_, element] : elements) {
      task.reached.push_back(element);
      task.priority = std::min(task.priority, state.cost + element.weight.sum() + to_end_[element.state]);
    }
    num_elements_ += static_cast<int64_t>(task.reached.size());
    tasks_.push(std::move(task));
  }
}

// Best first: each state is first reached on its cheapest path, and stopping early amounts to a smaller beam.
WordLattice Determinizer::Run(int64_t max_arcs) {
  double reached = beam_ - double{kLatticeRounding};
  if (best_ < kInfinity) {
    Subset start = Close({{0, 0, {}}}, 0);
    // No arc leads to the start state, so its set is not normalised.
    FindState(std::move(start), 0);
    for (int64_t num_arcs = 0; !tasks_.empty(); ++num_arcs) {
      const Task task = tasks_.top();
      tasks_.pop();
      if (num_arcs == max_arcs || num_elements_ / kElementsPerArc > max_arcs) {
        reached = std::max(0.0, task.priority - best_);
        break;
      }
      Subset subset = Close(task.reached, states_[task.from].cost);
      if (subset.empty()) continue;  // rounding at the edge of the beam
      const Element common = Normalize(&subset);
      const int32_t to = FindState(std::move(subset), states_[task.from].cost + common.weight.sum());
      arcs_[task.from].push_back({to, task.word, common.weight, strings_.Tokens(common.string, 0)});
    }
  }
  WordLattice lattice = Order();
  lattice.beam = static_cast<float>(reached);
  return lattice;
}

// The states on complete paths, in topological order.
WordLattice Determinizer::Order() const {
  const size_t n = states_.size();
  std::vector<int32_t> num_before(n, 0), order, numbers(n, -1);
  for (const auto& arcs : arcs_)
    for (const OutArc& arc : arcs) ++num_before[arc.to];
  if (n > 0) order.push_back(0);
  for (size_t i = 0; i < order.size(); ++i) {
    for (const OutArc& arc : arcs_[order[i]])
      if (--num_before[arc.to] == 0) order.push_back(arc.to);
  }
  std::vector<bool> ends(n, false);
  for (size_t i = order.size(); i-- > 0;) {
    const int32_t s = order[i];
    ends[s] = finals_[s].to >= 0;
    for (const OutArc& arc : arcs_[s]) ends[s] = ends[s] || ends[arc.to];
  }
  WordLattice out;
  for (const int32_t s : order)
    if (ends[s]) numbers[s] = out.num_states++;
  const auto add_tokens = [&out](const OutArc& arc) {
    out.tokens.insert(out.tokens.end(), arc.tokens.begin(), arc.tokens.end());
    return static_cast<uint32_t>(out.tokens.size());
  };
  for (const int32_t s : order) {
    if (!ends[s]) continue;
    for (const OutArc& arc : arcs_[s]) {
      if (!ends[arc.to]) continue;
      out.arcs.push_back({numbers[s], numbers[arc.to], arc.word, static_cast<float>(arc.weight.graph),
                          static_cast<float>(arc.weight.acoustic), static_cast<float>(arc.weight.boost),
                          add_tokens(arc)});
    }
  }
  for (const int32_t s : order) {
    if (!ends[s] || finals_[s].to < 0) continue;
    const OutArc& end = finals_[s];
    out.finals.push_back({numbers[s], static_cast<float>(end.weight.graph),
                          static_cast<float>(end.weight.acoustic), static_cast<float>(end.weight.boost),
                          add_tokens(end)});
  }
  return out;
}

// Whether the lattice has a path with these words.
bool Contains(const WordLattice& lattice, const std::vector<int32_t>& words) {
  if (lattice.num_states == 0) return false;
  int32_t state = 0;
  for (const int32_t word : words) {
    auto arc = std::lower_bound(lattice.arcs.begin(), lattice.arcs.end(), state,
                                [](const WordLattice::Arc& a, int32_t from) { return a.from < from; });
    while (arc != lattice.arcs.end() && arc->from == state && arc->word != word) ++arc;
    if (arc == lattice.arcs.end() || arc->from != state) return false;
    state = arc->to;
  }
  return std::any_of(lattice.finals.begin(), lattice.finals.end(),
                     [state](const WordLattice::Final& end) { return end.state == state; });
}

// The part of a lattice whose paths have exactly these words. A state of it is a state of the lattice and a
// number of words.
StateLattice Restrict(const StateLattice& lattice, const std::vector<int32_t>& words) {
  std::vector<std::map<size_t, int32_t>> states(lattice.num_states);
  const auto words_after = [&words](const StateLattice::Arc& arc, size_t count) {
    if (arc.olabel == 0) return count;
    return count < words.size() && words[count] == arc.olabel ? count + 1 : words.size() + 1;
  };
  states[0][0] = 0;
  for (const StateLattice::Arc& arc : lattice.arcs) {
    for (const auto& [count, _] : states[arc.from])
      if (const size_t after = words_after(arc, count); after <= words.size()) states[arc.to][after] = 0;
  }
  StateLattice only;
  for (auto& by_count : states)
    for (auto& [_, state] : by_count) state = only.num_states++;
  for (const StateLattice::Arc& arc : lattice.arcs) {
    for (const auto& [count, state] : states[arc.from]) {
      const size_t after = words_after(arc, count);
      if (after > words.size()) continue;
      only.arcs.push_back(arc);
      only.arcs.back().from = state;
      only.arcs.back().to = states[arc.to].at(after);
    }
  }
  std::stable_sort(only.arcs.begin(), only.arcs.end(),
                   [](const StateLattice::Arc& a, const StateLattice::Arc& b) { return a.from < b.from; });
  for (StateLattice::Final end : lattice.finals) {
    const auto state = states[end.state].find(words.size());
    if (state == states[end.state].end()) continue;
    end.state = state->second;
    only.finals.push_back(end);
  }
  return only;
}

}  // namespace

WordLattice Determinize(const StateLattice& lattice, float beam, int64_t max_arcs) {
  WordLattice words = Determinizer(lattice, beam).Run(max_arcs);
  // If the limit was reached before the best path was complete, the beam shrinks until it is.
  for (int round = 0; round < 12 && words.beam < beam && !Contains(words, lattice.best); ++round) {
    beam = round < 11 ? std::min(beam, 16.0f) / 2 : 0.0f;
    words = Determinizer(lattice, beam).Run(max_arcs);
  }
  if (lattice.num_states == 0 || Contains(words, lattice.best)) return words;
  // More paths of equal cost than the limit allows: the best path alone.
  const StateLattice only = Restrict(lattice, lattice.best);
  if (only.finals.empty()) return words;
  words = Determinizer(only, kInfinity).Run(std::numeric_limits<int64_t>::max());
  words.beam = 0;
  return words;
}

}  // namespace asr::decoder
