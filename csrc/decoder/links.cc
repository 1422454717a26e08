#include "links.h"

namespace asr::decoder {
namespace {

constexpr uint32_t kNoNumber = 0xFFFFFFFFu;

}  // namespace

void LinkPool::Clear() {
  if (links_.capacity() > 16 * kMinLimit) *this = LinkPool();  // gives back the memory of a long utterance
  layers_.clear();
  links_.clear();
  costs_.clear();
  limit_ = kMinLimit;
  beam_ = kInfinity;
}

void LinkPool::Begin(double offset) {
  const auto node = static_cast<uint32_t>(costs_.size());
  const auto link = static_cast<uint32_t>(links_.size());
  layers_.push_back({node, link, link, offset});
}

void LinkPool::CollectGarbage(float beam) {
  const std::vector<float> alive(costs_.size() - layers_.back().node_begin, 0.0f);
  Prune(alive, std::min(beam, beam_));
  for (int round = 0; links_.size() > kMaxLinks / 2 && round < 10; ++round) {
    beam_ = std::min(beam, beam_) / 2;
    Prune(alive, beam_);
  }
  limit_ = std::max(kMinLimit, 2 * links_.size());
}

void LinkPool::Prune(const std::vector<float>& extra, float beam) {
  FindExtras(extra, beam);
  RemoveBeyond(beam);
}

// From the last layer to the first: for each node, the cost of the best complete path through it above that
// of the best path.
void LinkPool::FindExtras(const std::vector<float>& last, float beam) {
  extras_.assign(costs_.size(), kInfinity);
  std::copy(last.begin(), last.end(), extras_.begin() + layers_.back().node_begin);
  for (size_t l = layers_.size(); l-- > 0;) {
    // Epsilon links within a layer are in any order: as many rounds as their longest chain.
    for (bool improves = true; improves;) {
      improves = false;
      for (uint32_t k = LinkEnd(l); k-- > layers_[l].epsilon_begin;) {
        const Link& link = links_[k];
        const float extra = extras_[link.to] + Slack(link);
        if (extra <= beam && extra < extras_[link.from]) {
          extras_[link.from] = extra;
          improves = true;
        }
      }
    }
    for (uint32_t k = layers_[l].epsilon_begin; k-- > layers_[l].link_begin;) {
      const Link& link = links_[k];
      const float extra = extras_[link.to] + Slack(link);
      if (extra <= beam) extras_[link.from] = std::min(extras_[link.from], extra);
    }
  }
}

// The remaining links and nodes move up, in order.
void LinkPool::RemoveBeyond(float beam) {
  moved_.assign(costs_.size(), kNoNumber);
  uint32_t num_nodes = 0, num_links = 0;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer old = layers_[l];
    const uint32_t node_end = NodeEnd(l), link_end = LinkEnd(l);
    layers_[l].node_begin = num_nodes;
    layers_[l].link_begin = num_links;
    for (uint32_t n = old.node_begin; n < node_end; ++n) {
      if (!(extras_[n] <= beam)) continue;
      moved_[n] = num_nodes;
      costs_[num_nodes] = costs_[n];
      extras_[num_nodes++] = extras_[n];
    }
    for (uint32_t k = old.link_begin; k < link_end; ++k) {
      if (k == old.epsilon_begin) layers_[l].epsilon_begin = num_links;
      Link link = links_[k];
      link.from = moved_[link.from];
      link.to = moved_[link.to];
      if (link.from == kNoNumber || link.to == kNoNumber || !(extras_[link.to] + Slack(link) <= beam))
        continue;
      links_[num_links++] = link;
    }
    if (old.epsilon_begin == link_end) layers_[l].epsilon_begin = num_links;
  }
  costs_.resize(num_nodes);
  links_.resize(num_links);
}

}  // namespace asr::decoder
