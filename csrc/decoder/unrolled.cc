#include "unrolled.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

#include "costs.h"

namespace asr::decoder {
namespace {

// Limit per cycle: links between its states, above those of the cheapest paths.
constexpr size_t kMaxLinks = size_t{1} << 14;

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
  for (const auto& nodes : components) {
    if (nodes.size() == 1) continue;
    for (const uint32_t node : nodes) cyclic_[node] = {num_cycles_, -1, {}, {}, kInfinity, kInfinity, node};
    ++num_cycles_;
  }
  if (const auto start = cyclic_.find(0); layer == 0 && start != cyclic_.end()) start->second.entry = 0;
  for (uint32_t k = pool_.layers()[layer].link_begin; k < pool_.LinkEnd(layer); ++k) {
    const Link& link = pool_.links()[k];
    const auto to = cyclic_.find(link.to);
    if (to == cyclic_.end()) continue;
    const auto from = cyclic_.find(link.from);
    if (from != cyclic_.end() && from->second.cycle == to->second.cycle) {
      from->second.links.push_back(k);
    } else {
      to->second.entry = std::min(to->second.entry, pool_.Slack(link));
    }
  }
  for (auto nodes = components.rbegin(); nodes != components.rend(); ++nodes) {
    if (nodes->size() == 1) {
      states_[nodes->front()] = num_states_++;
    } else {
      const std::vector<uint32_t> order = Rank(*nodes);
      order.size() > kMaxNodes ? Climb(order) : Unroll(order);
    }
  }
}

// The nodes of a cycle in the order of Dijkstra's algorithm.
std::vector<uint32_t> Unrolled::Rank(const std::vector<uint32_t>& nodes) {
  using Entry = std::pair<float, uint32_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> queue;
  for (const uint32_t node : nodes) {
    cyclic_[node].cost = cyclic_[node].entry;
    queue.push({cyclic_[node].cost, node});
  }
  std::vector<uint32_t> order;
  while (!queue.empty()) {
    const uint32_t node = queue.top().second;
    queue.pop();
    Cyclic& cyclic = cyclic_[node];
    if (cyclic.rank >= 0) continue;
    cyclic.rank = static_cast<int32_t>(order.size());
    order.push_back(node);
    for (const uint32_t k : cyclic.links) {
      const Link& link = pool_.links()[k];
      Cyclic& next = cyclic_[link.to];
      const float cost = cyclic.cost + pool_.Slack(link);
      if (!(cost < next.cost)) continue;
      next.cost = cost;
      next.previous = node;
      queue.push({cost, link.to});
    }
  }
  return order;
}

// One state per node; links that do not climb join none.
void Unrolled::Climb(const std::vector<uint32_t>& order) {
  for (const uint32_t node : order) {
    states_[node] = num_states_++;
    cyclic_[node].states = {states_[node]};
  }
  for (const uint32_t node : order) {
    for (const uint32_t k : cyclic_[node].links) {
      const Link& link = pool_.links()[k];
      auto& pairs = pairs_[k];
      if (states_[node] < states_[link.to]) {
        pairs.emplace_back(states_[node], states_[link.to]);
      } else {
        beam_ = std::min(beam_, cyclic_[node].cost + pool_.Slack(link) + pool_.Extra(link.to));
      }
    }
  }
}

// The visits within the beam, cheapest first, with the costs of reaching them.
std::map<Unrolled::Visit, float> Unrolled::FindVisits(const std::vector<uint32_t>& order) {
  std::map<Visit, float> visits;
  std::vector<uint64_t> passed;  // by rank: the nodes on the cheapest way to each node
  for (const uint32_t node : order) {
    const Cyclic& cyclic = cyclic_[node];
    const uint64_t own = uint64_t{1} << cyclic.rank;
    passed.push_back(cyclic.previous == node ? own : passed[cyclic_[cyclic.previous].rank] | own);
    visits[{passed.back(), node}] = cyclic.cost;
    if (cyclic.entry < kInfinity) visits.try_emplace({own, node}, cyclic.entry);
  }
  using Entry = std::pair<float, Visit>;  // what the best path through a visit costs above the best path
  std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> queue;
  for (const auto& [visit, cost] : visits) queue.push({cost + pool_.Extra(visit.second), visit});
  for (size_t num_links = 0; !queue.empty();) {
    const auto [whole, visit] = queue.top();
    queue.pop();
    const float cost = visits.at(visit);
    if (cost + pool_.Extra(visit.second) < whole) continue;  // it has been reached at lower cost since
    num_links += cyclic_[visit.second].links.size();
    for (const uint32_t k : cyclic_[visit.second].links) {
      const Link& link = pool_.links()[k];
      const uint64_t own = uint64_t{1} << cyclic_[link.to].rank;
      const float reached = cost + pool_.Slack(link), through = reached + pool_.Extra(link.to);
      if (!(through <= beam_) || (visit.first & own) != 0) continue;
      const Visit next{visit.first | own, link.to};
      const auto known = visits.find(next);
      if (known == visits.end() && num_links > kMaxLinks) {
        beam_ = std::min(beam_, through);
      } else if (known == visits.end() || reached < known->second) {
        visits[next] = reached;
        queue.push({through, next});
      }
    }
  }
  return visits;
}

// Numbers the visits by the number of nodes passed, so that links climb.
void Unrolled::Unroll(const std::vector<uint32_t>& order) {
  std::vector<Visit> visits;
  for (const auto& [visit, cost] : FindVisits(order)) visits.push_back(visit);
  const auto size = [](const Visit& visit) { return __builtin_popcountll(visit.first); };
  std::stable_sort(visits.begin(), visits.end(),
                   [&](const Visit& a, const Visit& b) { return size(a) < size(b); });
  std::map<Visit, int32_t> numbers;
  for (const Visit& visit : visits) {
    if (size(visit) == 1) states_[visit.second] = num_states_;
    cyclic_[visit.second].states.push_back(num_states_);
    numbers[visit] = num_states_++;
  }
  for (const uint32_t node : order)
    for (const uint32_t k : cyclic_[node].links) pairs_[k];  // a link may join no states
  for (const Visit& visit : visits) {
    for (const uint32_t k : cyclic_[visit.second].links) {
      const uint32_t to = pool_.links()[k].to;
      const uint64_t own = uint64_t{1} << cyclic_[to].rank;
      if ((visit.first & own) != 0) continue;
      const auto next = numbers.find({visit.first | own, to});
      if (next != numbers.end()) pairs_[k].emplace_back(numbers[visit], next->second);
    }
  }
}

}  // namespace asr::decoder
