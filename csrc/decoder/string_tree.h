// The token strings of a determinization.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace asr::decoder {

// Token strings as a tree: a string is identified by its last node; equal strings have the same node.
class StringTree {
 public:
  StringTree() : nodes_(1) {}
  int32_t Append(int32_t string, int32_t token) {
    const uint64_t key = static_cast<uint64_t>(string) << 32 | static_cast<uint32_t>(token);
    const auto [child, is_new] = children_.try_emplace(key, static_cast<int32_t>(nodes_.size()));
    if (is_new) nodes_.push_back({string, token, nodes_[string].length + 1});
    return child->second;
  }
  int32_t Length(int32_t string) const { return nodes_[string].length; }
  int32_t Common(int32_t a, int32_t b) const {
    while (a != b) (nodes_[a].length < nodes_[b].length ? b : a) = Shorter(a, b);
    return a;
  }
  // The tokens of `string` from position `begin`.
  std::vector<int32_t> Tokens(int32_t string, int32_t begin) const {
    std::vector<int32_t> tokens;
    for (; Length(string) > begin; string = nodes_[string].previous) tokens.push_back(nodes_[string].token);
    std::reverse(tokens.begin(), tokens.end());
    return tokens;
  }
  int32_t WithoutFirst(int32_t string, int32_t begin) {
    if (begin == 0) return string;
    int32_t rest = 0;
    for (const int32_t token : Tokens(string, begin)) rest = Append(rest, token);
    return rest;
  }

 private:
  struct Node {
    int32_t previous = 0;
    int32_t token = 0;
    int32_t length = 0;
  };
  int32_t Shorter(int32_t a, int32_t b) const {
    return nodes_[a].length < nodes_[b].length ? nodes_[b].previous : nodes_[a].previous;
  }
  std::vector<Node> nodes_;  // 0 is the empty string
  std::unordered_map<uint64_t, int32_t> children_;
};

}  // namespace asr::decoder
