// CUDA's blocks and threads on a CPU, for tests: the kernels run unchanged, and a missing barrier is
// detected.
//
// The threads of a block are fibres. Each runs until it reaches a barrier or ends, in an order that the test
// chooses (ascending, descending or shuffled), so between two barriers one thread can be as far ahead of
// another as the program allows. Shared memory is initialised to NaN. It is an error if threads wait at
// different barriers, or if some wait after others have ended. Each __syncthreads() in the source has a
// number and can be disabled, so that the tests can show that they detect its absence.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#define __global__ inline
#define __device__ inline
#define CTC_SHARED(Type, name) \
  Type* const name = reinterpret_cast<Type*>(::asr::ctc::emulation::CurrentBlock().shared.data())
#define __syncthreads() \
  ::asr::ctc::emulation::CurrentBlock().Wait(__COUNTER__ - ::asr::ctc::emulation::kFirstSite)
#define threadIdx ::asr::ctc::emulation::CurrentBlock().thread_index
#define blockIdx ::asr::ctc::emulation::CurrentBlock().block_index
#define blockDim ::asr::ctc::emulation::CurrentBlock().block_dim

namespace asr::ctc::emulation {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

class Block {
 public:
  Dim thread_index, block_index, block_dim;
  std::vector<double> shared;
  int order = 0;  // 0: ascending, 1: descending, else the seed of a new shuffle after each barrier
  int disabled_site = -1;

  // Runs body() once per thread of the block `index`. Throws std::logic_error if the threads diverge at
  // barriers.
  template <class Body>
  void Run(Dim index, unsigned threads, size_t shared_bytes, const Body& body) {
    block_index = index;
    block_dim = {threads, 1, 1};
    shared.resize(shared_bytes / sizeof(double) + 1);
    std::memset(shared.data(), 0xff, shared.size() * sizeof(double));
    fibres_.resize(threads);
    body_ = [](const void* b) { (*static_cast<const Body*>(b))(); };
    argument_ = &body;
    for (Fibre& fibre : fibres_) Start(fibre);
    for (std::mt19937 random(order); Step(random);) {
    }
  }

  void Wait(int site) {
    if (site == disabled_site) return;
    Fibre& self = fibres_[thread_index.x];
    self.site = site;
    swapcontext(&self.context, &scheduler_);
  }

 private:
  static constexpr int kEnded = -1;
  struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    int site;
  };

  static void Enter();

  void Start(Fibre& fibre) {
    fibre.stack.resize(1 << 16);
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.data();
    fibre.context.uc_stack.ss_size = fibre.stack.size();
    fibre.context.uc_link = &scheduler_;
    makecontext(&fibre.context, &Block::Enter, 0);
  }

  // Runs every thread to its next barrier, or its end. Returns true if there is more to run.
  bool Step(std::mt19937& random) {
    std::vector<unsigned> turns(fibres_.size());
    std::iota(turns.begin(), turns.end(), 0u);
    if (order == 1) std::reverse(turns.begin(), turns.end());
    if (order > 1) std::shuffle(turns.begin(), turns.end(), random);
    for (unsigned turn : turns) {
      thread_index.x = turn;
      fibres_[turn].site = kEnded;
      swapcontext(&scheduler_, &fibres_[turn].context);
    }
    for (const Fibre& fibre : fibres_) {
      if (fibre.site != fibres_[0].site)
        throw std::logic_error("threads of a block wait at different barriers, or after others have ended");
    }
    return fibres_[0].site != kEnded;
  }

  std::vector<Fibre> fibres_;
  ucontext_t scheduler_;
  void (*body_)(const void*) = nullptr;
  const void* argument_ = nullptr;
};

inline Block& CurrentBlock() {
  static Block only;
  return only;
}

inline void Block::Enter() { CurrentBlock().body_(CurrentBlock().argument_); }

// kernel<<<blocks, threads, shared_bytes>>>(arguments...)
template <class Kernel, class... Arguments>
void Launch(Kernel kernel, unsigned blocks, unsigned threads, size_t shared_bytes,
            const Arguments&... arguments) {
  for (unsigned x = 0; x < blocks; ++x)
    CurrentBlock().Run({x, 1, 1}, threads, shared_bytes, [&] { kernel(arguments...); });
}

inline constexpr auto launch = [](auto kernel, unsigned blocks, unsigned threads, int64_t shared_bytes,
                                  auto... arguments) {
  Launch(kernel, blocks, threads, static_cast<size_t>(shared_bytes), arguments...);
};

// work() with the threads of blocks in that order. Returns 0, or 1 if they diverged at barriers.
template <class Work>
int Run(int order, int disabled_site, const Work& work) {
  CurrentBlock().order = order;
  CurrentBlock().disabled_site = disabled_site;
  try {
    work();
  } catch (const std::logic_error&) {
    return 1;
  }
  return 0;
}

constexpr int kFirstSite = __COUNTER__ + 1;

}  // namespace asr::ctc::emulation
