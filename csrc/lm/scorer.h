// Probabilities of words by the back-off rule, with the n-grams as a trie in arrays, its own or those of a
// mapped file (asr/lm/trie_file.py).
#pragma once

#include <algorithm>
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
  // Per node. The nodes below the highest order, the histories, have back-offs and continuations.
  struct Arrays {
    std::vector<Node> order_begin;  // first node of each order, from order 0, and the number of nodes
    const int32_t* word;            // (nodes,), the last word of the n-gram; -1 for node 0
    const float* log10_prob;        // (nodes,)
    const float* log10_backoff;     // (histories,)
    const Node* first;              // (histories + 1,), the first node that continues it
    const Node* shorter;            // (histories,), the longest listed suffix, a smaller node

    Node num_nodes() const { return order_begin.back(); }
    Node num_histories() const { return std::max<Node>(1, order_begin[order_begin.size() - 2]); }
  };

  Scorer() = default;  // without n-grams; AddOrder adds them
  // The arrays belong to the caller and outlive this object. Throws std::invalid_argument for orders that do
  // not ascend. Other damage of the arrays is found by Score when it gets there.
  explicit Scorer(Arrays arrays);

  // Adds the next order: `size` n-grams of `n` ids each, sorted by ids, with their base-10 logarithms. Throws
  // std::invalid_argument unless they ascend, their histories are among the order below, and the unigrams
  // have the ids 0, 1, 2 and so on.
  void AddOrder(const int32_t* ids, int n, uint64_t size, const float* log10_prob,
                const float* log10_backoff);
  void Finish();  // after the last order

  // `word` is an id, or -1 for a word that the model cannot predict: log10 of its probability is then -100,
  // as in kenlm. Throws std::invalid_argument for another state or id, and for damaged arrays.
  Step Score(Node state, int32_t word) const;

  const Arrays& arrays() const { return arrays_; }

 private:
  Node Find(Node history, int32_t word) const;  // 0: not listed
  Node Suffix(Node history, int32_t word) const;
  Node Shorter(Node history) const;
  bool IsWord(int32_t id) const;
  bool IsState(Node node) const;
  void PointToOwn();

  Arrays arrays_{{0, 1}, nullptr, nullptr, nullptr, nullptr, nullptr};
  // What arrays_ points to, unless the arrays are the caller's.
  std::vector<int32_t> word_{-1};
  std::vector<float> log10_prob_{0.0f}, log10_backoff_{0.0f};
  std::vector<Node> first_, shorter_{0};
  std::vector<int32_t> lower_ids_;  // of the order below, while orders are added
};

}  // namespace asr::lm
