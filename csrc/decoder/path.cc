// The results of a search: the best path, its stable part, and the lattice.
#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "costs.h"
#include "search.h"

namespace asr::decoder {
namespace {

// Numbers the nodes of a layer, from `next_state` on, so that epsilon links lead to higher numbers. In a
// cycle the cheapest node comes first, because the cheapest path enters there; the link that closes the cycle
// leads to a lower number.
void OrderLayer(const LinkPool& pool, size_t layer, int32_t next_state, std::vector<int32_t>* states) {
  const uint32_t begin = pool.layers()[layer].node_begin, end = pool.NodeEnd(layer);
  const uint32_t link_begin = pool.layers()[layer].epsilon_begin, link_end = pool.LinkEnd(layer);
  if (link_begin == link_end) {
    for (uint32_t n = begin; n < end; ++n) (*states)[n] = next_state++;
    return;
  }
  std::vector<int32_t> num_before(end - begin, 0);  // number of links from nodes without a number
  for (uint32_t k = link_begin; k < link_end; ++k) ++num_before[pool.links()[k].to - begin];
  std::vector<std::vector<uint32_t>> following(end - begin);
  for (uint32_t k = link_begin; k < link_end; ++k)
    following[pool.links()[k].from - begin].push_back(pool.links()[k].to);
  std::vector<uint32_t> ready;
  for (uint32_t n = end; n-- > begin;)
    if (num_before[n - begin] == 0) ready.push_back(n);
  std::vector<uint32_t> by_cost;
  for (;;) {
    if (ready.empty()) {
      if (by_cost.empty()) {
        by_cost.resize(end - begin);
        std::iota(by_cost.begin(), by_cost.end(), begin);
        std::stable_sort(by_cost.begin(), by_cost.end(), [&pool](uint32_t a, uint32_t b) {
          const float cost_a = pool.costs()[a], cost_b = pool.costs()[b];
          return cost_a != cost_b ? cost_a > cost_b : a > b;
        });
      }
      while (!by_cost.empty() && (*states)[by_cost.back()] >= 0) by_cost.pop_back();
      if (by_cost.empty()) return;
      ready.push_back(by_cost.back());
    }
    const uint32_t node = ready.back();
    ready.pop_back();
    if ((*states)[node] >= 0) continue;
    (*states)[node] = next_state++;
    for (const uint32_t to : following[node - begin])
      if (--num_before[to - begin] == 0) ready.push_back(to);
  }
}

}  // namespace

// The cost of ending at the token: potentials of phrases that are taken back and, unless the path may end
// `anywhere`, the final cost of the graph.
float Search::FinalCost(const Token& token, bool anywhere) const {
  const float refund = phrases_ == nullptr ? 0.0f : phrases_->FinalCost(token.context / stride_);
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

Partial Search::FindPartial() const {
  RequireUnbroken();
  const Token& best = tokens_[best_];
  Partial partial{TracePath(best), 0, kInfinity};
  partial.path.cost = offset_ + best.cost;
  for (const Token& token : tokens_) {
    if (!is_dead_)
      partial.final_cost = std::min(partial.final_cost, token.cost + FinalCost(token, false) - best.cost);
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

  StateLattice lattice;
  lattice.frames = searched_frames_;
  lattice.num_frames = num_frames_;
  lattice.complete = end.is_final;
  lattice.beam = std::min(options_.lattice_beam, beam);
  const size_t num_layers = pool.layers().size();
  std::vector<int32_t> states(pool.costs().size(), -1);  // one per node
  for (size_t l = 0; l < num_layers; ++l) {
    OrderLayer(pool, l, static_cast<int32_t>(pool.layers()[l].node_begin), &states);
    const double offset = pool.layers()[l].offset;
    const double step = l == 0 ? 0 : offset - pool.layers()[l - 1].offset;
    for (uint32_t k = pool.layers()[l].link_begin; k < pool.LinkEnd(l); ++k) {
      const Link& link = pool.links()[k];
      const bool is_epsilon = k >= pool.layers()[l].epsilon_begin;
      if (states[link.from] >= states[link.to]) continue;
      const double cost = double{link.cost} - pool.costs()[link.from] + (is_epsilon ? 0 : step);
      lattice.arcs.push_back({states[link.from], states[link.to], InputLabel(link.arc), OutputLabel(link.arc),
                              static_cast<float>(cost - link.acoustic), link.acoustic});
    }
  }
  std::stable_sort(lattice.arcs.begin(), lattice.arcs.end(),
                   [](const StateLattice::Arc& a, const StateLattice::Arc& b) { return a.from < b.from; });
  lattice.num_states = static_cast<int32_t>(states.size());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!(extra[i] <= beam)) continue;
    const uint32_t node = pool.moved()[links_.layers().back().node_begin + i];
    lattice.finals.push_back({states[node], FinalCost(tokens_[i], !end.is_final), skipped_cost_});
  }
  return lattice;
}

}  // namespace asr::decoder
