// A thread pool whose threads wait between calls: starting a thread costs as much as the loss of a short
// utterance.
#pragma once

#include <cstdint>

namespace asr::ctc {

// Calls call(work, i) for each i < count, on the calling thread and up to threads - 1 others. Rethrows the
// first exception. If another caller is using the pool, everything runs on the calling thread.
void ParallelForErased(int64_t count, int threads, void (*call)(const void* work, int64_t i),
                       const void* work);

// The same for a lambda, without allocation.
template <class Work>
void ParallelFor(int64_t count, int threads, const Work& work) {
  ParallelForErased(
      count, threads, [](const void* work, int64_t i) { (*static_cast<const Work*>(work))(i); }, &work);
}

}  // namespace asr::ctc
