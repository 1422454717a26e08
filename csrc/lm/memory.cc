#include "memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace asr::lm {

TemporaryFile::TemporaryFile(const std::string& folder) : folder_(folder) {
  std::string name = folder + "/.asr-lm-XXXXXX";
  file_ = mkostemp(name.data(), O_CLOEXEC);
  if (file_ < 0) Fail("create", errno);
  unlink(name.c_str());
}

TemporaryFile::~TemporaryFile() { close(file_); }

void TemporaryFile::Append(const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t done = write(file_, at, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) Fail("write", done < 0 ? errno : ENOSPC);
    at += done;
    size -= done;
  }
}

void TemporaryFile::Read(void* bytes, size_t size, size_t offset) const {
  char* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t done = pread(file_, at, size, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) Fail("read", done < 0 ? errno : EIO);  // 0: the file is too short
    at += done;
    offset += done;
    size -= done;
  }
}

void TemporaryFile::Fail(const char* action, int error) const {
  throw TemporaryFileError(std::string("cannot ") + action + " a temporary file in " + folder_ + ": " +
                           std::strerror(error) + "; free space there or raise lm.memory_mb");
}

void* Memory::Scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    scratch_.reset();
    scratch_.reset(new char[bytes]);
    scratch_bytes_ = bytes;
  }
  return scratch_.get();
}

}  // namespace asr::lm
