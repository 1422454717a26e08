#include "token_pool.h"

#include <algorithm>

namespace asr::decoder {

void TokenPool::CollectGarbage(std::vector<Token>* tokens) {
  constexpr int32_t kDead = -1, kAlive = 0;
  moved_.assign(records_.size(), kDead);
  for (const Token& token : *tokens) {
    for (int32_t r = token.record; r != kNoRecord && moved_[r] == kDead; r = records_[r].previous)
      moved_[r] = kAlive;
  }
  int32_t count = 0;
  for (size_t r = 0; r < records_.size(); ++r) {
    if (moved_[r] == kDead) continue;
    const Record& record = records_[r];
    const int32_t previous = record.previous == kNoRecord ? kNoRecord : moved_[record.previous];
    moved_[r] = count;
    records_[count++] = {previous, record.arc};
  }
  records_.resize(count);
  for (Token& token : *tokens) {
    if (token.record != kNoRecord) token.record = moved_[token.record];
  }
  limit_ = std::max(kMinLimit, 2 * records_.size());
}

// They are empty afterwards.
void StateMap::UseSlots(size_t num_slots) {
  mask_ = num_slots - 1;
  if (slots_.size() < num_slots) slots_.resize(num_slots);
  if (++stamp_ != 0) return;
  std::fill(slots_.begin(), slots_.end(), Slot{});
  stamp_ = 1;
}

}  // namespace asr::decoder
