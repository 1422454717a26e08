// The results of a search: the best path, its stable part, and the lattice.
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "costs.h"
#include "search.h"
#include "unrolled.h"

namespace asr::decoder {

// The cost of ending at the token: potentials of phrases that are taken back and, unless the path may end
// `anywhere`, the final cost of the graph.
float Search::FinalCost(const Token& token, bool anywhere) const {
  const float refund = phrases_ == nullptr ? 0.0f : phrases_->FinalCost(PhraseState(token.context));
  return anywhere ? refund : refund + graph_.states()[token.state].final_cost;
}

Search::End Search::FindEnd() const {
  End end{-1, kInfinity, false};
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].cost == kDropped) continue;
    const bool is_final = !is_dead_ && FinalCost(tokens_[i], false) < kInfinity;
    const float cost = tokens_[i].cost + FinalCost(tokens_[i], !is_final);
    if (end.place < 0 || (is_final && !end.is_final) || (is_final == end.is_final && cost < end.cost))
      end = {static_cast<int32_t>(i), cost, is_final};
  }
  return end;
}

Path Search::Finalize() const {
  RequireUnbroken();
  const End end = FindEnd();
  Path path = TracePath(tokens_[end.place]);
  path.cost = offset_ + end.cost;
  path.complete = end.is_final;
  return path;
}

// The place of the token whose path is the cheapest so far. Costs of tokens also hold the potentials of
// phrases that are begun, which are no part of the cost of a path.
int32_t Search::FindBest() const {
  if (phrases_ == nullptr) return best_;
  int32_t best = best_;
  const auto cost_of = [this](int32_t place) {
    return tokens_[place].cost + FinalCost(tokens_[place], true);
  };
  for (int32_t place = 0; place < static_cast<int32_t>(tokens_.size()); ++place)
    if (cost_of(place) < cost_of(best)) best = place;
  return best;
}

Partial Search::FindPartial() const {
  RequireUnbroken();
  const Token& best = tokens_[FindBest()];
  const float cost = best.cost + FinalCost(best, true);
  Partial partial{TracePath(best), 0, kInfinity};
  partial.path.cost = offset_ + cost;
  for (const Token& token : tokens_) {
    if (!is_dead_)
      partial.final_cost = std::min(partial.final_cost, token.cost + FinalCost(token, false) - cost);
  }
  for (int32_t r = FindCommonRecord(); r != kNoRecord; r = pool_[r].previous)
    partial.num_stable += OutputLabel(pool_[r].arc) != 0;
  return partial;
}

// The last record that the paths of all tokens share, or kNoRecord. Records point to older ones, so the
// newest of the current records is replaced by its predecessor until only one is left.
int32_t Search::FindCommonRecord() const {
  std::vector<int32_t> heap;
  for (const Token& token : tokens_)
    if (token.cost != kDropped) heap.push_back(token.record);
  std::make_heap(heap.begin(), heap.end());
  for (;;) {
    std::pop_heap(heap.begin(), heap.end());
    const int32_t newest = heap.back();
    heap.pop_back();
    if (heap.empty() || newest == kNoRecord) return newest;
    if (newest == heap.front()) continue;
    heap.push_back(pool_[newest].previous);
    std::push_heap(heap.begin(), heap.end());
  }
}

Path Search::TracePath(const Token& token) const {
  std::vector<uint32_t> arcs;
  for (int32_t r = token.record; r != kNoRecord; r = pool_[r].previous) arcs.push_back(pool_[r].arc);

  Path path;
  path.alignment.assign(num_frames_, kBlankLabel - 1);
  int64_t num_searched = 0;
  int32_t frame = 0;
  for (auto arc = arcs.rbegin(); arc != arcs.rend(); ++arc) {
    if (const int32_t label = InputLabel(*arc); label != kEpsilonLabel) {
      frame = searched_frames_[num_searched++];
      path.alignment[frame] = label - 1;
    }
    if (OutputLabel(*arc) == 0) continue;
    path.labels.push_back(OutputLabel(*arc));
    path.label_frames.push_back(frame);
  }
  return path;
}

StateLattice Search::FindLattice() const {
  RequireUnbroken();
  if (!KeepsLattice()) throw std::invalid_argument("this decoder keeps no lattice; set lattice_beam");
  const End end = FindEnd();
  std::vector<float> extra;
  for (const Token& token : tokens_) extra.push_back(token.cost + FinalCost(token, !end.is_final) - end.cost);
  LinkPool pool = links_;
  const float beam = std::min(options_.lattice_beam + kLatticeRounding, links_.beam());
  pool.Prune(extra, beam);
  const Unrolled unrolled(pool, beam);

  StateLattice lattice;
  lattice.frames = searched_frames_;
  lattice.num_frames = num_frames_;
  lattice.complete = end.is_final;
  lattice.beam = std::min(options_.lattice_beam, unrolled.beam());
  lattice.num_states = unrolled.num_states();
  lattice.best = TracePath(tokens_[end.place]).labels;
  for (size_t l = 0; l < pool.layers().size(); ++l) {
    const Layer& layer = pool.layers()[l];
    const double step = l == 0 ? 0 : layer.offset - pool.layers()[l - 1].offset;
    for (uint32_t k = layer.link_begin; k < pool.LinkEnd(l); ++k) {
      const Link& link = pool.links()[k];
      const bool is_epsilon = k >= layer.epsilon_begin;
      const double cost = double{link.cost} - pool.costs()[link.from] + (is_epsilon ? 0 : step);
      unrolled.ForPairs(k, [&](int32_t from, int32_t to) {
        lattice.arcs.push_back({from, to, InputLabel(link.arc), OutputLabel(link.arc),
                                static_cast<float>(cost - link.acoustic), link.acoustic, 0.0f});
      });
    }
  }
  std::stable_sort(lattice.arcs.begin(), lattice.arcs.end(),
                   [](const StateLattice::Arc& a, const StateLattice::Arc& b) { return a.from < b.from; });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!(extra[i] <= beam)) continue;
    const uint32_t node = pool.moved()[links_.layers().back().node_begin + i];
    const float graph = end.is_final ? graph_.states()[tokens_[i].state].final_cost : 0.0f;
    unrolled.ForStates(node, [&](int32_t state) {
      lattice.finals.push_back({state, graph, skipped_cost_, FinalCost(tokens_[i], true)});
    });
  }
  if (phrases_ != nullptr) SplitBoosts(&lattice);
  return lattice;
}

// Separates the boosts from the graph costs of the arcs. All paths to a state have the same phrase state.
void Search::SplitBoosts(StateLattice* lattice) const {
  std::vector<int32_t> phrases(lattice->num_states, Phrases::kRoot);
  for (StateLattice::Arc& arc : lattice->arcs) {
    phrases[arc.to] = phrases[arc.from];
    if (arc.olabel == 0) continue;
    const Phrases::Step step = phrases_->Take(phrases[arc.from], arc.olabel);
    phrases[arc.to] = step.state;
    arc.graph -= step.cost;
    arc.boost = step.cost;
  }
}

size_t Search::NumBytes() const {
  return pool_.NumBytes() + links_.NumBytes() + places_.NumBytes() + states_.NumBytes() +
         states_at_.capacity() * sizeof(State) + tokens_.capacity() * sizeof(Token) +
         (nexts_.capacity() + contexts_.capacity() + with_word_.capacity()) * sizeof(int32_t) +
         candidates_.capacity() * sizeof(Candidate) + approaches_.capacity() * sizeof(Approach);
}

}  // namespace asr::decoder
