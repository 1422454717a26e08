#include "pool.h"

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

namespace ctc {
namespace {

class Pool {
 public:
  void run(int64_t count, int64_t helpers, void (*call)(const void*, int64_t), const void* work) {
    try {
      for (; started_ < helpers; ++started_) std::thread(&Pool::help, this).detach();
    } catch (const std::system_error&) {
      helpers = started_;  // no more are to be had
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
    serve();
    std::unique_lock<std::mutex> lock(state_);
    places_ = 0;
    done_.wait(lock, [&] { return active_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  std::atomic_flag busy = ATOMIC_FLAG_INIT;  // set while a caller uses the threads

 private:
  void serve() {
    try {
      for (int64_t i = next_++; i < count_; i = next_++) call_(work_, i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(state_);
      if (!error_) error_ = std::current_exception();
      next_ = count_;
    }
  }

  [[noreturn]] void help() {
    std::unique_lock<std::mutex> lock(state_);
    for (;;) {
      wake_.wait(lock, [&] { return places_ > 0; });
      --places_;
      ++active_;
      lock.unlock();
      serve();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex state_;
  std::condition_variable wake_, done_;
  void (*call_)(const void*, int64_t) = nullptr;
  const void* work_ = nullptr;
  int64_t count_ = 0, places_ = 0, active_ = 0, started_ = 0;
  std::atomic<int64_t> next_{0};
  std::exception_ptr error_;
};

// Never destroyed: its threads wait until the process ends. A forked child has none of them, so it begins
// anew.
Pool* pool = nullptr;

void begin_anew() { pool = new Pool; }

[[maybe_unused]] const bool begun = [] {
  begin_anew();
#ifndef _WIN32
  pthread_atfork(nullptr, nullptr, begin_anew);
#endif
  return true;
}();

struct Release {
  Pool& used;
  ~Release() { used.busy.clear(); }
};

}  // namespace

void run_shared(int64_t count, int threads, void (*call)(const void*, int64_t), const void* work) {
  const int64_t helpers = std::min<int64_t>(threads, count) - 1;
  if (helpers > 0 && !pool->busy.test_and_set()) {
    const Release release{*pool};
    return pool->run(count, helpers, call, work);
  }
  for (int64_t i = 0; i < count; ++i) call(work, i);
}

}  // namespace ctc
