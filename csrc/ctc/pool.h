// Threads that wait for work between calls: starting one costs as much as the loss of a short utterance.
#ifndef CTC_POOL_H_
#define CTC_POOL_H_

#include <cstdint>

namespace ctc {

// Calls call(work, i) for every i < count, on the calling thread and up to threads - 1 others. Rethrows the
// first exception. A second caller at the same time does its work alone.
void run_shared(int64_t count, int threads, void (*call)(const void* work, int64_t i), const void* work);

// The same for a lambda; nothing is allocated.
template <class Work>
void share_out(int64_t count, int threads, const Work& work) {
  run_shared(
      count, threads, [](const void* work, int64_t i) { (*static_cast<const Work*>(work))(i); }, &work);
}

}  // namespace ctc

#endif  // CTC_POOL_H_
