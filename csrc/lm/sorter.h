// External sorting: buffers are sorted and spooled as runs, and the runs are merged. Records have a unique
// `key` (a Key<W>), or an operator+= that combines records with the same key.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "memory.h"
#include "spool.h"

namespace asr::lm {

template <class Record, class = void>
struct CanSum : std::false_type {};
template <class Record>
struct CanSum<Record, std::void_t<decltype(std::declval<Record&>() += std::declval<Record>())>>
    : std::true_type {};

// Sorts records in ascending order of the lowest `key_bits` bits of their keys: radix sort with 8 bits per
// pass, unless they are sorted. `scratch` has room for `size` records.
template <class Record>
void RadixSort(Record* records, Record* scratch, size_t size, int key_bits) {
  if (std::is_sorted(records, records + size, [](const auto& a, const auto& b) { return a.key < b.key; }))
    return;
  const int num_digits = (key_bits + 7) / 8;
  std::vector<size_t> histograms(num_digits * 256);
  for (size_t i = 0; i < size; ++i)
    for (int d = 0; d < num_digits; ++d) ++histograms[d * 256 + records[i].key.Byte(d)];
  Record *from = records, *to = scratch;
  for (int d = 0; d < num_digits; ++d) {
    size_t* place = &histograms[d * 256];
    if (std::find(place, place + 256, size) != place + 256) continue;  // all have the same digit
    size_t begin = 0;
    for (int digit = 0; digit < 256; ++digit) begin += std::exchange(place[digit], begin);
    for (size_t i = 0; i < size; ++i) to[place[from[i].key.Byte(d)]++] = from[i];
    std::swap(from, to);
  }
  if (from != records) std::copy(from, from + size, records);
}

template <class Record>
class Sorter {
  static constexpr size_t kMaxRuns = 64;  // more runs are merged into one, to limit open readers and files

 public:
  // `bytes`: the size limit of the buffer; the scratch memory grows to the same size.
  Sorter(Memory& memory, int key_bits, size_t bytes)
      : memory_(&memory), key_bits_(key_bits), capacity_(std::max<size_t>(bytes / sizeof(Record), 16)) {}

  void Add(const Record& record) {
    if (buffer_.size() == buffer_.capacity()) Grow();
    buffer_.push_back(record);
  }

  // Keeps the records so far apart from those that follow: worthwhile if both are sorted, since merging takes
  // less time than sorting.
  void EndRun() {
    if (buffer_.size() <= capacity_ / kMaxRuns) return;
    SortBuffer();
    SpoolBuffer();
  }

  // Calls visit(record) for all records in ascending order and removes them.
  template <class Visit>
  void Drain(Visit&& visit) {
    SortBuffer();
    if (runs_.empty()) {
      const std::vector<Record> records = std::move(buffer_);
      for (const Record& record : records) visit(record);
    } else {
      SpoolBuffer();
      std::vector<Record>().swap(buffer_);
      Merge(std::exchange(runs_, {}), visit);
    }
  }

 private:
  void Grow() {
    if (buffer_.size() < capacity_) {
      buffer_.reserve(std::min(capacity_, std::max<size_t>(2 * buffer_.size(), 16)));
      return;
    }
    SortBuffer();
    if (buffer_.size() > capacity_ / 2) SpoolBuffer();  // else combining records has made room
  }

  void SortBuffer() {
    auto* scratch = static_cast<Record*>(memory_->Scratch(buffer_.size() * sizeof(Record)));
    RadixSort(buffer_.data(), scratch, buffer_.size(), key_bits_);
    if constexpr (CanSum<Record>::value) {
      size_t last = 0;
      for (size_t i = 1; i < buffer_.size(); ++i) {
        if (buffer_[i].key == buffer_[last].key)
          buffer_[last] += buffer_[i];
        else
          buffer_[++last] = buffer_[i];
      }
      if (!buffer_.empty()) buffer_.resize(last + 1);
    }
  }

  void SpoolBuffer() {
    if (runs_.size() == kMaxRuns) {
      Spool<Record> merged(*memory_);
      Merge(std::exchange(runs_, {}), [&](const Record& record) { merged.Append(record); });
      runs_.push_back(std::move(merged));
    }
    Spool<Record> run(*memory_);
    for (const Record& record : buffer_) run.Append(record);
    runs_.push_back(std::move(run));
    buffer_.clear();
  }

  template <class Visit>
  static void Merge(std::vector<Spool<Record>> runs, Visit&& visit) {
    using Reader = typename Spool<Record>::Reader;
    std::vector<Reader> readers;
    for (const Spool<Record>& run : runs) readers.emplace_back(run);
    readers.erase(std::remove_if(readers.begin(), readers.end(), [](const Reader& r) { return !r.Peek(); }),
                  readers.end());
    std::vector<Reader*> heap;  // the smallest key first
    for (Reader& reader : readers) heap.push_back(&reader);
    const auto is_after = [](const Reader* a, const Reader* b) { return b->Peek()->key < a->Peek()->key; };
    std::make_heap(heap.begin(), heap.end(), is_after);
    const auto take = [&] {
      const Record record = *heap[0]->Peek();
      heap[0]->Pop();
      if (!heap[0]->Peek()) {
        heap[0] = heap.back();
        heap.pop_back();
      }
      SiftDown(heap);
      return record;
    };
    while (!heap.empty()) {
      Record record = take();
      if constexpr (CanSum<Record>::value)
        while (!heap.empty() && heap[0]->Peek()->key == record.key) record += take();
      visit(record);
    }
  }

  template <class Reader>
  static void SiftDown(std::vector<Reader*>& heap) {
    const size_t size = heap.size();
    if (size < 2) return;
    Reader* const moved = heap[0];
    const auto key = moved->Peek()->key;
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && heap[child + 1]->Peek()->key < heap[child]->Peek()->key) ++child;
      if (!(heap[child]->Peek()->key < key)) break;
      heap[at] = heap[child];
    }
    heap[at] = moved;
  }

  Memory* memory_;
  int key_bits_;
  size_t capacity_;
  std::vector<Record> buffer_;
  std::vector<Spool<Record>> runs_;
};

}  // namespace asr::lm
