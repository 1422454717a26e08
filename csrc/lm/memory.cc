#include "memory.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace asr {

TemporaryFile::TemporaryFile(const std::string& folder) : folder_(folder) {
  std::string name = folder + "/.asr-lm-XXXXXX";
  file_ = mkstemp(name.data());
  if (file_ < 0) Fail("create");
  unlink(name.c_str());
}

TemporaryFile::~TemporaryFile() { close(file_); }

void TemporaryFile::Append(const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t done = write(file_, at, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) Fail("write");
    at += done;
    size -= done;
  }
}

void TemporaryFile::Read(void* bytes, size_t size, size_t offset) const {
  char* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t done = pread(file_, at, size, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) Fail("read");
    at += done;
    offset += done;
    size -= done;
  }
}

void TemporaryFile::Fail(const char* what) const {
  throw TemporaryFileError(std::string("cannot ") + what + " a temporary file in " + folder_ + ": " +
                           std::strerror(errno) + "; make room there, or raise lm.memory_mb");
}

void* Memory::Scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    scratch_.reset();
    scratch_.reset(new char[bytes]);
    scratch_bytes_ = bytes;
  }
  return scratch_.get();
}

}  // namespace asr
