// Probabilities of words by the back-off rule, with the n-grams as a trie in arrays.
#pragma once

#include <cstdint>
#include <vector>

namespace asr::lm {

// An n-gram is a node; node 0 is the empty one, then all orders follow, each sorted by ids. A state is a node
// that can affect later words: some n-gram continues it, or it has a back-off weight. So equal states have
// equal futures, and states are equal where those of kenlm are.
class Scorer {
 public:
  using Node = uint32_t;
  struct Step {
    Node state;         // after the word
    double log10_prob;  // of the word, given the state before
    int length;         // of the n-gram used
  };

  // Adds the next order: `size` n-grams of `n` ids each, sorted by ids, with their base-10 logarithms. Throws
  // std::invalid_argument unless they ascend, their histories are among the order below, and the unigrams
  // have the ids 0, 1, 2 and so on.
  void AddOrder(const int32_t* ids, int n, uint64_t size, const float* log10_prob,
                const float* log10_backoff);
  void Finish();  // after the last order

  // `word` is an id, or -1 for a word that the model cannot predict: log10 of its probability is then -100,
  // as in kenlm. Throws std::invalid_argument for another state or id.
  Step Score(Node state, int32_t word) const;

 private:
  Node Find(Node history, int32_t word) const;  // 0: not listed
  Node Suffix(Node history, int32_t word) const;
  bool IsWord(int32_t id) const;
  bool IsState(Node node) const;

  std::vector<Node> order_begin_{0, 1};  // first node of each order, from order 0, and the number of nodes
  std::vector<int32_t> word_{-1};        // per node: the last word
  std::vector<float> log10_prob_{0.0f}, log10_backoff_{0.0f};
  // Per node below the highest order: the first node that continues it, and the longest listed suffix.
  std::vector<Node> first_, shorter_{0};
  std::vector<int32_t> lower_ids_;  // of the order below, while orders are added
};

}  // namespace asr::lm
