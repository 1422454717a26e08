#include "unrolled.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>
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
    for (const uint32_t node : nodes) cyclic_[node] = {num_cycles_, -1, {}, {}, kInfinity};
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
      Unroll(*nodes);
    }
  }
}

// Ranks the nodes of a cycle by Dijkstra's algorithm. Returns the visits of the cheapest path to each node
// and those that enter the cycle, with their costs above the cheapest path to the node.
std::map<Unrolled::Visit, float> Unrolled::FindCheapest(const std::vector<uint32_t>& nodes) {
  struct Reached {
    float cost;
    uint32_t node;
    std::vector<int32_t> passed;
    bool operator>(const Reached& other) const {
      return std::tie(cost, node) > std::tie(other.cost, other.node);
    }
  };
  std::priority_queue<Reached, std::vector<Reached>, std::greater<Reached>> queue;
  for (const uint32_t node : nodes)
    if (cyclic_[node].entry < kInfinity) queue.push({cyclic_[node].entry, node, {}});
  std::map<Visit, float> visits;
  int32_t num_ranked = 0;
  while (!queue.empty()) {
    Reached reached = queue.top();
    queue.pop();
    Cyclic& cyclic = cyclic_[reached.node];
    if (cyclic.rank >= 0) continue;
    cyclic.rank = num_ranked++;
    reached.passed.push_back(cyclic.rank);  // ranks ascend along the path
    for (const uint32_t k : cyclic.links)
      queue.push({reached.cost + pool_.Slack(pool_.links()[k]), pool_.links()[k].to, reached.passed});
    visits[{std::move(reached.passed), reached.node}] = reached.cost;
  }
  for (const uint32_t node : nodes)
    if (cyclic_[node].entry < kInfinity)
      visits.try_emplace({{cyclic_[node].rank}, node}, cyclic_[node].entry);
  return visits;
}

// Finds the states of a cycle, cheapest first, and numbers them by the number of nodes passed.
void Unrolled::Unroll(const std::vector<uint32_t>& nodes) {
  std::map<Visit, float> visits = FindCheapest(nodes);
  const auto passes = [this](const Visit& visit, uint32_t node) {
    return std::binary_search(visit.first.begin(), visit.first.end(), cyclic_[node].rank);
  };
  const auto after = [this](const Visit& visit, uint32_t node) {
    Visit next{visit.first, node};
    const int32_t rank = cyclic_[node].rank;
    next.first.insert(std::upper_bound(next.first.begin(), next.first.end(), rank), rank);
    return next;
  };
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
      const float reached = cost + pool_.Slack(link), through = reached + pool_.Extra(link.to);
      if (!(through <= beam_) || passes(visit, link.to)) continue;
      Visit next = after(visit, link.to);
      const auto known = visits.find(next);
      if (known == visits.end() && num_links > kMaxLinks) {
        beam_ = std::min(beam_, through);
        continue;
      }
      if (known != visits.end() && known->second <= reached) continue;
      visits[next] = reached;
      queue.push({through, std::move(next)});
    }
  }

  std::vector<const Visit*> order;
  for (const auto& [visit, cost] : visits) order.push_back(&visit);
  std::stable_sort(order.begin(), order.end(),
                   [](const Visit* a, const Visit* b) { return a->first.size() < b->first.size(); });
  std::map<Visit, int32_t> numbers;
  for (const Visit* visit : order) {
    numbers[*visit] = num_states_;
    if (visit->first.size() == 1) states_[visit->second] = num_states_;
    cyclic_[visit->second].states.push_back(num_states_++);
  }
  for (const uint32_t node : nodes)
    for (const uint32_t k : cyclic_[node].links) pairs_[k];  // a link may join no states
  for (const Visit* visit : order) {
    for (const uint32_t k : cyclic_[visit->second].links) {
      const uint32_t to = pool_.links()[k].to;
      if (passes(*visit, to)) continue;
      if (const auto next = numbers.find(after(*visit, to)); next != numbers.end())
        pairs_[k].emplace_back(numbers[*visit], next->second);
    }
  }
}

}  // namespace asr::decoder
