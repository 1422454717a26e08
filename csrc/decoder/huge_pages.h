// A graph is read at random, and most reads of a page of 4 kB then miss the processor's table of pages (TLB).
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace asr::decoder {

// Asks for pages of 2 MB when this memory is first used, unless it is smaller. A hint: kernels without them
// for mapped files or at all ignore it.
inline void PreferHugePages(const void* data, size_t num_bytes) {
#ifdef MADV_HUGEPAGE
  constexpr size_t kHugePage = size_t{2} << 20;
  if (num_bytes < kHugePage) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = address / page * page;
  madvise(reinterpret_cast<void*>(begin), num_bytes + (address - begin), MADV_HUGEPAGE);
#else
  static_cast<void>(data), static_cast<void>(num_bytes);
#endif
}

}  // namespace asr::decoder
