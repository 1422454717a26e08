// CTC loss and gradient of a batch, on plain pointers.
#ifndef CTC_CTC_H_
#define CTC_CTC_H_

#include <cstdint>
#include <string>

namespace ctc {

// Scores x[t * stride_t + n * stride_n + v], t < frames, n < batch, v < vocabulary: natural
// log-probabilities, or logits that are normalised on the way.
template <class Scalar>
struct Batch {
  const Scalar* x;
  int64_t frames, batch, vocabulary, stride_t, stride_n;
  const int64_t* targets;  // (batch, longest_target), padded
  int64_t longest_target;
  const int64_t* input_lengths;
  const int64_t* target_lengths;
  int64_t blank;
  bool zero_infinity;  // an utterance without any alignment costs 0 instead of infinity
  bool logits;
};

// What is wrong with lengths and labels, in one sentence; empty if nothing is.
template <class Scalar>
std::string fault(const Batch<Scalar>& batch);

// How many doubles of each utterance the forward pass leaves to the backward pass. More than the least of
// them if there are fewer utterances than threads with something to do.
int64_t state_size(int64_t frames, int64_t batch, int64_t vocabulary, int64_t longest_target, int threads);

// No result depends on the number of threads.
// losses (batch); state (batch, state_words), or null if no backward pass follows.
template <class Scalar>
void forward(const Batch<Scalar>& batch, Scalar* losses, double* state, int64_t state_words, int threads);

// grad[t * grad_stride_t + n * grad_stride_n + v] = upstream[n] * d losses[n] / d x[t, n, v]
template <class Scalar>
void backward(const Batch<Scalar>& batch, double* state, int64_t state_words, const Scalar* upstream,
              Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, int threads);

// The likeliest alignment: paths (batch, frames), the output of each frame, or -1 behind the last; scores
// (batch, frames), their log-probabilities, 0 behind the last. Without any alignment, or with NaN among the
// scores, all of a path is -1 and its scores are minus infinity or NaN.
template <class Scalar>
void align(const Batch<Scalar>& batch, int64_t* paths, Scalar* scores, int threads);

}  // namespace ctc

#endif  // CTC_CTC_H_
