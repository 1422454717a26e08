#include "unrolled.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

#include "costs.h"

namespace asr::decoder {
namespace {

// Memory limit: copies of links, per cycle.
constexpr size_t kMaxCopiedLinks = size_t{1} << 20;

// The epsilon links of a layer by the node that they leave; nodes are counted from `begin`.
struct Successors {
  Successors(const LinkPool& pool, size_t layer)
      : begin(pool.layers()[layer].node_begin), first(pool.NodeEnd(layer) - begin + 1) {
    const uint32_t link_begin = pool.layers()[layer].epsilon_begin, link_end = pool.LinkEnd(layer);
    for (uint32_t k = link_begin; k < link_end; ++k) ++first[pool.links()[k].from - begin + 1];
    for (size_t n = 1; n < first.size(); ++n) first[n] += first[n - 1];
    links.resize(link_end - link_begin);
    std::vector<uint32_t> next(first.begin(), first.end() - 1);
    for (uint32_t k = link_begin; k < link_end; ++k) links[next[pool.links()[k].from - begin]++] = k;
  }
  uint32_t begin;
  std::vector<uint32_t> first;  // in `links`, of each node; one more for the end
  std::vector<uint32_t> links;
};

// The strongly connected components of a layer, in reverse topological order (Tarjan 1972, without
// recursion).
std::vector<std::vector<uint32_t>> FindComponents(const LinkPool& pool, const Successors& after) {
  const auto n = static_cast<uint32_t>(after.first.size()) - 1;
  constexpr uint32_t kNew = 0xFFFFFFFFu;
  std::vector<uint32_t> number(n, kNew), low(n), next(after.first.begin(), after.first.end() - 1), stack,
      calls;
  std::vector<bool> is_open(n, false);
  std::vector<std::vector<uint32_t>> components;
  uint32_t count = 0;
  for (uint32_t root = 0; root < n; ++root) {
    if (number[root] != kNew) continue;
    calls.push_back(root);
    while (!calls.empty()) {
      const uint32_t node = calls.back();
      if (number[node] == kNew) {
        number[node] = low[node] = count++;
        stack.push_back(node);
        is_open[node] = true;
      }
      if (next[node] < after.first[node + 1]) {
        const uint32_t to = pool.links()[after.links[next[node]++]].to - after.begin;
        if (number[to] == kNew) {
          calls.push_back(to);
        } else if (is_open[to]) {
          low[node] = std::min(low[node], number[to]);
        }
        continue;
      }
      calls.pop_back();
      if (!calls.empty()) low[calls.back()] = std::min(low[calls.back()], low[node]);
      if (low[node] != number[node]) continue;
      components.emplace_back();
      for (uint32_t member = kNew; member != node;) {
        member = stack.back();
        stack.pop_back();
        is_open[member] = false;
        components.back().push_back(member + after.begin);
      }
    }
  }
  return components;
}

}  // namespace

Unrolled::Unrolled(const LinkPool& pool, float beam)
    : pool_(pool), beam_(beam), states_(pool.costs().size(), -1) {
  for (size_t layer = 0; layer < pool.layers().size(); ++layer)
    if (!OrderAcyclic(layer)) OrderCyclic(layer);
}

// Numbers the nodes of a layer so that epsilon links climb. Returns false if a cycle prevents it.
bool Unrolled::OrderAcyclic(size_t layer) {
  const uint32_t begin = pool_.layers()[layer].node_begin, end = pool_.NodeEnd(layer);
  const int32_t first_state = num_states_;
  if (pool_.layers()[layer].epsilon_begin == pool_.LinkEnd(layer)) {
    for (uint32_t n = begin; n < end; ++n) states_[n] = num_states_++;
    return true;
  }
  const Successors after(pool_, layer);
  std::vector<uint32_t> num_before(end - begin, 0);  // number of links from nodes without a number
  for (const uint32_t k : after.links) ++num_before[pool_.links()[k].to - begin];
  std::vector<uint32_t> ready;
  for (uint32_t n = end - begin; n-- > 0;)
    if (num_before[n] == 0) ready.push_back(n);
  while (!ready.empty()) {
    const uint32_t node = ready.back();
    ready.pop_back();
    states_[begin + node] = num_states_++;
    for (uint32_t i = after.first[node]; i < after.first[node + 1]; ++i) {
      const uint32_t to = pool_.links()[after.links[i]].to - begin;
      if (--num_before[to] == 0) ready.push_back(to);
    }
  }
  if (num_states_ - first_state == static_cast<int32_t>(end - begin)) return true;
  num_states_ = first_state;
  return false;
}

void Unrolled::OrderCyclic(size_t layer) {
  const auto components = FindComponents(pool_, Successors(pool_, layer));
  Cycles cycles;
  for (const auto& nodes : components) {
    if (nodes.size() == 1) continue;
    for (const uint32_t node : nodes) {
      cyclic_[node] = {num_cycles_, -1, {}};
      cycles.cost[node] = kInfinity;
    }
    ++num_cycles_;
  }
  const auto start = cycles.cost.find(0);
  if (start != cycles.cost.end()) start->second = 0;
  for (uint32_t k = pool_.layers()[layer].link_begin; k < pool_.LinkEnd(layer); ++k) {
    const Link& link = pool_.links()[k];
    const auto to = cyclic_.find(link.to);
    if (to == cyclic_.end()) continue;
    const auto from = cyclic_.find(link.from);
    if (from != cyclic_.end() && from->second.cycle == to->second.cycle) {
      cycles.links[link.from].push_back(k);
    } else {
      float& cost = cycles.cost[link.to];
      cost = std::min(cost, pool_.Slack(link));
    }
  }
  for (auto nodes = components.rbegin(); nodes != components.rend(); ++nodes) {
    if (nodes->size() == 1) {
      states_[nodes->front()] = num_states_++;
    } else {
      Unroll(Rank(*nodes, &cycles), &cycles);
    }
  }
}

// The nodes of one cycle in the order of Dijkstra's algorithm; sets their ranks and costs.
std::vector<uint32_t> Unrolled::Rank(const std::vector<uint32_t>& nodes, Cycles* cycles) {
  using Entry = std::pair<float, uint32_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> queue;
  for (const uint32_t node : nodes) queue.push({cycles->cost[node], node});
  std::vector<uint32_t> order;
  while (!queue.empty()) {
    const auto [cost, node] = queue.top();
    queue.pop();
    if (cyclic_[node].rank >= 0) continue;
    cyclic_[node].rank = static_cast<int32_t>(order.size());
    order.push_back(node);
    for (const uint32_t k : cycles->links[node]) {
      const Link& link = pool_.links()[k];
      const float next = cost + pool_.Slack(link);
      if (!(next < cycles->cost[link.to])) continue;
      cycles->cost[link.to] = next;
      queue.push({next, link.to});
    }
  }
  return order;
}

// Numbers the copies of the nodes of one cycle, which are in order of rank.
void Unrolled::Unroll(const std::vector<uint32_t>& order, Cycles* cycles) {
  size_t num_links = 0;
  for (const uint32_t node : order) num_links += cycles->links[node].size();
  for (size_t copy = 0; copy < order.size(); ++copy) {
    std::unordered_map<uint32_t, float> later;  // the cost of reaching each node in the next copy
    for (const uint32_t node : order) {
      const float cost = cycles->cost[node];
      Cyclic& cyclic = cyclic_[node];
      const bool is_kept = copy == 0 || (cost < kInfinity && cost + pool_.Extra(node) <= beam_);
      cyclic.states.push_back(is_kept ? num_states_++ : -1);
      if (!is_kept) continue;
      for (const uint32_t k : cycles->links[node]) {
        const Link& link = pool_.links()[k];
        const float reached = cost + pool_.Slack(link);
        float& next = cyclic_[link.to].rank <= cyclic.rank
                          ? later.try_emplace(link.to, kInfinity).first->second
                          : cycles->cost[link.to];
        next = std::min(next, reached);
      }
    }
    float least = kInfinity;
    for (const auto& [node, cost] : later) least = std::min(least, cost + pool_.Extra(node));
    if (later.empty() || least > beam_) break;
    if ((copy + 2) * num_links > kMaxCopiedLinks) {
      beam_ = least;
      break;
    }
    for (const uint32_t node : order) {
      const auto reached = later.find(node);
      cycles->cost[node] = reached == later.end() ? kInfinity : reached->second;
    }
  }
  for (const uint32_t node : order) states_[node] = cyclic_[node].states[0];
}

}  // namespace asr::decoder
