// The memory limit of an estimation, and the unnamed temporary files that hold the rest.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

namespace asr::lm {

// A temporary file cannot be created, written or read, for instance because the disk is full.
struct TemporaryFileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A file that is removed with this object, or with the process.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& folder);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void Append(const void* bytes, size_t size);
  void Read(void* bytes, size_t size, size_t offset) const;

 private:
  [[noreturn]] void Fail(const char* action, int error) const;
  std::string folder_;
  int file_;
};

// Half of the limit is for spools, which take it as they grow, and seven sixteenths are for the buffers of
// sorters. The rest is for the vocabulary and the process itself.
class Memory {
 public:
  Memory(size_t limit_bytes, std::string folder) : limit_(limit_bytes), folder_(std::move(folder)) {}

  bool Take(size_t bytes) {
    if (held_ + bytes > limit_ / 2) return false;
    held_ += bytes;
    return true;
  }
  void GiveBack(size_t bytes) { held_ -= bytes; }

  // Bytes for the buffer of one of `num_sorters` sorters that exist at the same time. The scratch memory that
  // they share has the same size.
  size_t SorterBytes(int num_sorters) const { return limit_ / 16 * 7 / (num_sorters + 1); }
  void* Scratch(size_t bytes);
  std::unique_ptr<TemporaryFile> OpenFile() const { return std::make_unique<TemporaryFile>(folder_); }

 private:
  const size_t limit_;
  const std::string folder_;
  size_t held_ = 0;
  std::unique_ptr<char[]> scratch_;
  size_t scratch_bytes_ = 0;
};

}  // namespace asr::lm
