// CTC loss, gradient and forced alignment of a batch, on plain pointers.
#pragma once

#include <cstdint>

namespace asr::ctc {

// The net's outputs x[t * stride_t + n * stride_n + v] for t < frames, n < batch, v < vocabulary: natural
// log-probs, or logits, which are then normalised internally.
template <class Scalar>
struct Batch {
  const Scalar* x;
  int64_t frames, batch, vocabulary, stride_t, stride_n;
  const int64_t* targets;  // (batch, longest_target), padded
  int64_t longest_target;
  const int64_t* input_lengths;   // (batch)
  const int64_t* target_lengths;  // (batch)
  int64_t blank;
  bool zero_infinity;  // an utterance without any alignment has loss 0 instead of infinity
  bool logits;
};

// Throws std::invalid_argument, naming the utterance, for a length or label that is out of range.
template <class Scalar>
void Check(const Batch<Scalar>& batch);

// Number of doubles per utterance that Forward leaves for Backward. It is larger than necessary if there are
// fewer utterances than useful threads, so that the backward pass can run in parallel.
int64_t StateSize(int64_t frames, int64_t batch, int64_t vocabulary, int64_t longest_target, int threads);

// Results do not depend on the number of threads. losses: (batch); state: (batch, state_words), or null if no
// backward pass follows.
template <class Scalar>
void Forward(const Batch<Scalar>& batch, Scalar* losses, double* state, int64_t state_words, int threads);

// grad[t * grad_stride_t + n * grad_stride_n + v] = upstream[n] * d losses[n] / d x[t, n, v]
template <class Scalar>
void Backward(const Batch<Scalar>& batch, double* state, int64_t state_words, const Scalar* upstream,
              Scalar* grad, int64_t grad_stride_t, int64_t grad_stride_n, int threads);

// The most probable alignment (Viterbi). paths: (batch, frames), the output of each frame, -1 after the
// utterance's last frame; log_probs: (batch, frames), their log-probs, 0 after the last frame. For an
// utterance without any alignment, or with NaN among its log-probs, the whole path is -1 and its log-probs
// are minus infinity or NaN.
template <class Scalar>
void Align(const Batch<Scalar>& batch, int64_t* paths, Scalar* log_probs, int threads);

}  // namespace asr::ctc
