// A long sequence that is written once and then read in order: in memory up to the limit, then in a file.
#pragma once

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

#include "memory.h"

namespace asr::lm {

template <class T>
class Spool {
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr size_t kChunk = std::max<size_t>(4096, 65536 / sizeof(T));  // elements moved at a time

 public:
  explicit Spool(Memory& memory) : memory_(&memory) {}
  Spool(Spool&& other) noexcept { Swap(other); }
  Spool& operator=(Spool&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Spool() {
    if (memory_) memory_->GiveBack(full_.size() * kChunk * sizeof(T));
  }

  void Append(const T& element) {
    if (last_.size() == kChunk) Store();
    last_.push_back(element);
  }
  size_t size() const { return full_.size() * kChunk + num_in_file_ + last_.size(); }

  // Reads a spool that is complete.
  class Reader {
   public:
    explicit Reader(const Spool& spool) : spool_(&spool) { Refill(); }
    // The current element, or null at the end.
    const T* Peek() const { return at_; }
    void Pop() {
      if (++at_ == end_) Refill();
    }

   private:
    void Refill() {
      const size_t in_memory = spool_->full_.size(), chunk = next_++;
      if (chunk < in_memory) {
        SetRange(spool_->full_[chunk].get(), kChunk);
      } else if (const size_t begin = (chunk - in_memory) * kChunk; begin < spool_->num_in_file_) {
        if (!buffer_) buffer_.reset(new T[kChunk]);
        spool_->file_->Read(buffer_.get(), kChunk * sizeof(T), begin * sizeof(T));
        SetRange(buffer_.get(), kChunk);
      } else if (begin == spool_->num_in_file_ && !spool_->last_.empty()) {
        SetRange(spool_->last_.data(), spool_->last_.size());
      } else {
        at_ = end_ = nullptr;
      }
    }
    void SetRange(const T* begin, size_t size) {
      at_ = begin;
      end_ = begin + size;
    }

    const Spool* spool_;
    size_t next_ = 0;
    std::unique_ptr<T[]> buffer_;
    const T* at_ = nullptr;
    const T* end_ = nullptr;
  };

 private:
  void Store() {
    if (!file_ && memory_->Take(kChunk * sizeof(T))) {
      full_.emplace_back(new T[kChunk]);
      std::copy(last_.begin(), last_.end(), full_.back().get());
    } else {
      if (!file_) file_ = memory_->OpenFile();
      file_->Append(last_.data(), kChunk * sizeof(T));
      num_in_file_ += kChunk;
    }
    last_.clear();
  }
  void Swap(Spool& other) {
    std::swap(memory_, other.memory_);
    std::swap(full_, other.full_);
    std::swap(file_, other.file_);
    std::swap(num_in_file_, other.num_in_file_);
    std::swap(last_, other.last_);
  }

  Memory* memory_ = nullptr;
  std::vector<std::unique_ptr<T[]>> full_;
  std::unique_ptr<TemporaryFile> file_;
  size_t num_in_file_ = 0;
  std::vector<T> last_;  // the incomplete last chunk
};

}  // namespace asr::lm
