#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace asr::ctc {
namespace {

class ThreadPool {
 public:
  void Run(int64_t count, int64_t helpers, void (*call)(const void*, int64_t), const void* work) {
    try {
      for (; started_ < helpers; ++started_) std::thread(&ThreadPool::Help, this).detach();
    } catch (const std::system_error&) {
      helpers = started_;  // the system gives no more threads
    }
    {
      const std::lock_guard<std::mutex> lock(state_);
      call_ = call;
      work_ = work;
      count_ = count;
      next_ = 0;
      places_ = helpers;
      error_ = nullptr;
    }
    wake_.notify_all();
    Serve();
    std::unique_lock<std::mutex> lock(state_);
    places_ = 0;
    done_.wait(lock, [&] { return active_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  // Reserves the pool for the calling thread; false if another thread is using it.
  bool TryAcquire() { return !busy_.test_and_set(); }
  void Release() { busy_.clear(); }

 private:
  void Serve() {
    try {
      for (int64_t i = next_++; i < count_; i = next_++) call_(work_, i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(state_);
      if (!error_) error_ = std::current_exception();
      next_ = count_;
    }
  }

  [[noreturn]] void Help() {
    std::unique_lock<std::mutex> lock(state_);
    for (;;) {
      wake_.wait(lock, [&] { return places_ > 0; });
      --places_;
      ++active_;
      lock.unlock();
      Serve();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::mutex state_;
  std::condition_variable wake_, done_;
  void (*call_)(const void*, int64_t) = nullptr;
  const void* work_ = nullptr;
  int64_t count_ = 0, places_ = 0, active_ = 0, started_ = 0;
  std::atomic<int64_t> next_{0};
  std::exception_ptr error_;
};

// Never destroyed: its threads wait until the process ends. A forked child inherits no threads and makes a
// new pool.
ThreadPool* pool = nullptr;

void ResetPool() { pool = new ThreadPool; }

[[maybe_unused]] const bool is_initialized = [] {
  ResetPool();
#ifndef _WIN32
  pthread_atfork(nullptr, nullptr, ResetPool);
#endif
  return true;
}();

struct Releaser {
  ThreadPool& acquired;
  ~Releaser() { acquired.Release(); }
};

}  // namespace

void ParallelForErased(int64_t count, int threads, void (*call)(const void*, int64_t), const void* work) {
  const int64_t helpers = std::min<int64_t>(threads, count) - 1;
  if (helpers > 0 && pool->TryAcquire()) {
    const Releaser releaser{*pool};
    return pool->Run(count, helpers, call, work);
  }
  for (int64_t i = 0; i < count; ++i) call(work, i);
}

}  // namespace asr::ctc
