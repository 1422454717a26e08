// The forward-backward algorithm over an acceptor, in parallel over utterances. As in cpu.cc, rows of alpha
// are kept at block boundaries and recomputed from there, unless all of them fit into kRowBytes.
#include <limits>

#include "clones.h"
#include "numbers.h"
#include "thread_pool.h"

namespace asr::ctc {
namespace {

constexpr int64_t kRowBytes = 32 << 20;

// Memory of a thread, aligned for vectors. It grows to the largest size asked for and is reused.
class Memory {
 public:
  template <class T>
  T* Reserve(int64_t count) {
    bytes_.resize(std::max(bytes_.size(), count * sizeof(T) + 64));
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(bytes_.data()) + 63) / 64 * 64);
  }

 private:
  std::vector<char> bytes_;
};

template <class Numbers>
class Pass {
 public:
  using Value = typename Numbers::Value;

  CTC_INLINE Pass(const Acceptor& graph, const Outputs& x, Numbers& numbers, bool goes_back, Memory& memory)
      : graph_(graph), x_(x), numbers_(numbers), frames_(numbers.frames()) {
    const int64_t fitting = kRowBytes / (graph.num_states * static_cast<int64_t>(sizeof(Value)) + 1);
    const int64_t root = std::lround(std::sqrt(static_cast<double>(frames_)));
    block_ = goes_back ? std::max<int64_t>({1, root, std::min(fitting, frames_)}) : 2;
    num_blocks_ = goes_back ? std::max<int64_t>(1, (frames_ + block_ - 1) / block_) : 1;
    const int64_t num_outputs = static_cast<int64_t>(graph.outputs.size());
    const int64_t num_rows = block_ + num_blocks_ + 3;
    rows_ = memory.Reserve<Value>(num_rows * graph.num_states + 3 * num_outputs + 1);
    emissions_ = rows_ + num_rows * graph.num_states;
    sums_ = emissions_ + num_outputs;
    scratch_ = reinterpret_cast<double*>(sums_ + num_outputs);
  }

  CTC_INLINE void Forward() {
    for (int64_t s = 0; s < graph_.num_states; ++s) Numbers::Fill(boundary(0)[s], graph_.start[s]);
    Value* from = boundary(0);
    for (int64_t t = 0; t < frames_; ++t) {
      from = Advance(from, t, true);
      numbers_.TakeTotals(graph_, t, from);
      if ((t + 1) % block_ || (t + 1) / block_ >= num_blocks_) continue;
      from = std::copy(from, from + graph_.num_states, boundary((t + 1) / block_)) - graph_.num_states;
    }
  }

  // After Forward, whose last block is still in memory.
  CTC_INLINE void Backward(double* occupancy) {
    Value* beta = boundary(num_blocks_);
    Value* after = beta + graph_.num_states;
    Value* before = after + graph_.num_states;
    for (int64_t s = 0; s < graph_.num_states; ++s) Numbers::Clear(beta[s]);
    for (int64_t b = num_blocks_ - 1; b >= 0; --b) {
      Value* from = boundary(b);
      const int64_t end = std::min(frames_, (b + 1) * block_);
      for (int64_t t = b * block_; b < num_blocks_ - 1 && t < end; ++t) from = Advance(from, t, false);
      for (int64_t t = end - 1; t >= b * block_; --t) {
        numbers_.StartBeta(graph_, t, beta);
        Occupy(row(t), beta, t, occupancy);
        if (t > 0) Retreat(beta, t, after, before);
        std::swap(beta, before);
      }
    }
  }

 private:
  CTC_INLINE Value* row(int64_t t) { return rows_ + t % block_ * graph_.num_states; }
  CTC_INLINE Value* boundary(int64_t b) { return rows_ + (block_ + b) * graph_.num_states; }

  // Alpha of frame t from that of the frame before.
  CTC_INLINE Value* Advance(const Value* from, int64_t t, bool is_first) {
    numbers_.Emit(graph_, x_, t, is_first, emissions_, scratch_);
    Value* to = row(t);
    for (int64_t s = 0; s < graph_.num_emitting; ++s) {
      Value sum;
      Gather(graph_.in, s, from, sum);
      Numbers::Multiply(sum, emissions_[graph_.labels[s]]);
      to[s] = sum;
    }
    for (int64_t s = graph_.num_emitting; s < graph_.num_states; ++s) Gather(graph_.in, s, to, to[s]);
    numbers_.Rescale(to, graph_.num_states, true, is_first);
    return to;
  }

  // Beta of frame t - 1 from that of frame t. `after`: room for the weights of arcs' ends.
  CTC_INLINE void Retreat(const Value* beta, int64_t t, Value* after, Value* before) {
    numbers_.Emit(graph_, x_, t, false, emissions_, scratch_);
    for (int64_t s = 0; s < graph_.num_emitting; ++s) {
      after[s] = beta[s];
      Numbers::Multiply(after[s], emissions_[graph_.labels[s]]);
    }
    for (int64_t s = graph_.num_states - 1; s >= 0; --s) {
      Gather(graph_.out, s, after, before[s]);
      if (s >= graph_.num_emitting) after[s] = before[s];
    }
    numbers_.Rescale(before, graph_.num_states, false, false);
  }

  CTC_INLINE void Occupy(const Value* alpha, const Value* beta, int64_t t, double* occupancy) {
    const int64_t num_outputs = static_cast<int64_t>(graph_.outputs.size());
    for (int64_t k = 0; k < num_outputs; ++k) Numbers::Clear(sums_[k]);
    for (int64_t s = 0; s < graph_.num_emitting; ++s)
      Numbers::AddProduct(sums_[graph_.labels[s]], alpha[s], beta[s]);
    for (int64_t k = 0; k < num_outputs; ++k) Numbers::Finish(sums_[k]);
    numbers_.Write(graph_, x_, t, alpha, beta, sums_, occupancy);
  }

  // sum = the weighted sum of the values at the other ends of a state's arcs.
  CTC_INLINE static void Gather(const Arcs& arcs, int64_t s, const Value* values, Value& result) {
    const auto* __restrict weights = Numbers::Weights(arcs);
    const int32_t* __restrict states = arcs.state.data();
    Value sum;
    Numbers::Clear(sum);
    for (int32_t k = arcs.first[s]; k < arcs.first[s + 1]; ++k)
      Numbers::AddProduct(sum, weights[k], values[states[k]]);
    Numbers::Finish(sum);
    result = sum;
  }

  const Acceptor& graph_;
  const Outputs& x_;
  Numbers& numbers_;
  int64_t frames_, block_, num_blocks_;
  Value *rows_, *emissions_, *sums_;
  double* scratch_;
};

CTC_CLONES void RunScaled(const Acceptor& graph, const Outputs& x, Scaled& numbers, double* occupancy,
                          Memory& memory) {
  Pass<Scaled> pass(graph, x, numbers, occupancy != nullptr, memory);
  pass.Forward();
  if (occupancy) pass.Backward(occupancy);
}

CTC_CLONES void RunExact(const Acceptor& graph, const Outputs& x, Exact& numbers, double* occupancy,
                         Memory& memory) {
  Pass<Exact> pass(graph, x, numbers, occupancy != nullptr, memory);
  pass.Forward();
  if (occupancy && !numbers.is_invalid && !IsZero(numbers.total)) pass.Backward(occupancy);
}

Memory& ThreadMemory() {
  thread_local Memory own;
  return own;
}

void Invalidate(const Outputs& x, int64_t n, double* totals, double* occupancy) {
  totals[n] = std::numeric_limits<double>::quiet_NaN();
  for (int64_t t = 0; occupancy && t < x.lengths[n]; ++t)
    std::fill_n(occupancy + (t * x.batch + n) * x.vocabulary, x.vocabulary, totals[n]);
}

void ComputeExact(const Acceptor& graph, const Outputs& x, int64_t n, double* totals, double* occupancy) {
  Exact numbers(x, n);
  if (numbers.length == 0) {
    totals[n] = graph.log_empty;
    return;
  }
  RunExact(graph, x, numbers, occupancy, ThreadMemory());
  if (numbers.is_invalid) return Invalidate(x, n, totals, occupancy);
  totals[n] = numbers.LogTotal();
}

void ComputeScaled(const Acceptor& graph, const Outputs& x, int64_t first, double* totals,
                   double* occupancy) {
  Scaled numbers(x, first);
  RunScaled(graph, x, numbers, occupancy, ThreadMemory());
  for (int l = 0; l < numbers.count; ++l) {
    const int64_t n = first + l;
    if (numbers.is_invalid[l]) {
      Invalidate(x, n, totals, occupancy);
    } else if (numbers.MustRepeat(l, occupancy != nullptr) || numbers.length[l] == 0) {
      ComputeExact(graph, x, n, totals, occupancy);
    } else {
      totals[n] = numbers.LogTotal(l);
    }
  }
}

}  // namespace

void ComputeTotals(const std::vector<const Acceptor*>& graphs, bool is_shared, const Outputs& x,
                   double* totals, double* occupancy, int threads) {
  if (is_shared && graphs[0]->is_plain) {
    ParallelFor((x.batch + kLanes - 1) / kLanes, threads,
                [&](int64_t k) { ComputeScaled(*graphs[0], x, k * kLanes, totals, occupancy); });
  } else {
    ParallelFor(x.batch, threads,
                [&](int64_t n) { ComputeExact(*graphs[is_shared ? 0 : n], x, n, totals, occupancy); });
  }
}

}  // namespace asr::ctc
