// The graph of phones of a transcript.
#include <algorithm>
#include <limits>
#include <numeric>

#include "hmm_graph.h"

namespace asr::decoder {
namespace {

constexpr float kNotFinal = std::numeric_limits<float>::infinity();

struct Row {
  int32_t source, ilabel, olabel;
  float cost;
  int32_t target;
};

class Transcript {
 public:
  explicit Transcript(int32_t silence) : silence_(silence) { Pause({0}); }

  void Add(const SpelledWord& word) {
    const int32_t end = num_states_++;
    bool is_optional = false;
    for (const auto& [phones, cost] : word) {
      ++number_;
      if (phones.empty())
        is_optional = true;
      else
        Spell(starts_, phones, number_, cost, end);
    }
    const std::vector<int32_t> skipped = is_optional ? starts_ : std::vector<int32_t>();
    Pause({end});
    starts_.insert(starts_.end(), skipped.begin(), skipped.end());
  }

  Columns Finish() const {
    Columns found;
    found.final_costs.assign(num_states_, kNotFinal);
    for (int32_t state : starts_) found.final_costs[state] = 0;
    std::vector<size_t> order(rows_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return rows_[a].source < rows_[b].source; });
    for (size_t n : order)
      found.Add(rows_[n].source, rows_[n].ilabel, rows_[n].olabel, rows_[n].cost, rows_[n].target);
    return found;
  }

 private:
  void Spell(const std::vector<int32_t>& sources, const std::vector<int32_t>& phones, int32_t number,
             double cost, int32_t target) {
    const auto inner = static_cast<int32_t>(phones.size()) - 1;  // states between its phones
    const int32_t first = num_states_;
    num_states_ += inner;
    auto behind = [&](int32_t phone) { return phone < inner ? first + phone : target; };
    for (int32_t source : sources)
      rows_.push_back({source, phones[0] + 1, number, static_cast<float>(cost), behind(0)});
    for (int32_t p = 1; p <= inner; ++p) rows_.push_back({first + p - 1, phones[p] + 1, 0, 0, behind(p)});
  }

  // The next word starts at `states`, or behind silence.
  void Pause(const std::vector<int32_t>& states) {
    starts_ = states;
    if (silence_ == 0) return;
    const int32_t behind = num_states_++;
    Spell(states, {silence_}, 0, 0, behind);
    starts_.push_back(behind);
  }

  const int32_t silence_;
  int32_t num_states_ = 1, number_ = 0;
  std::vector<int32_t> starts_;
  std::vector<Row> rows_;
};

}  // namespace

Columns SpellTranscript(const std::vector<SpelledWord>& words, int32_t silence) {
  Transcript transcript(silence);
  for (const SpelledWord& word : words) transcript.Add(word);
  return transcript.Finish();
}

}  // namespace asr::decoder
