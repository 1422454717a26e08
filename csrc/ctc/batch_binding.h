// The Python class of a Batch, the same for both devices. Arrays come as addresses: reading the shape of
// eight tensors by DLPack takes longer than the loss of a short utterance, and on a GPU it would wait for
// another stream. What the addresses point to is checked by asr/criteria/arguments.py.
#ifndef CTC_BATCH_BINDING_H_
#define CTC_BATCH_BINDING_H_

#include <nanobind/nanobind.h>

#include "ctc.h"

namespace ctc {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class Scalar>
nanobind::class_<Batch<Scalar>> define_batch(nanobind::module_& m, const char* name) {
  using namespace nanobind::literals;
  return nanobind::class_<Batch<Scalar>>(m, name, "Scores and targets as in ctc.h, at their addresses.")
      .def(
          "__init__",
          [](Batch<Scalar>* self, uintptr_t x, int64_t frames, int64_t batch, int64_t vocabulary,
             int64_t stride_t, int64_t stride_n, uintptr_t targets, int64_t longest_target,
             uintptr_t input_lengths, uintptr_t target_lengths, int64_t blank, bool zero_infinity,
             bool logits) {
            new (self) Batch<Scalar>{at<const Scalar>(x),
                                     frames,
                                     batch,
                                     vocabulary,
                                     stride_t,
                                     stride_n,
                                     at<const int64_t>(targets),
                                     longest_target,
                                     at<const int64_t>(input_lengths),
                                     at<const int64_t>(target_lengths),
                                     blank,
                                     zero_infinity,
                                     logits};
          },
          "x"_a, "frames"_a, "batch"_a, "vocabulary"_a, "stride_t"_a, "stride_n"_a, "targets"_a,
          "longest_target"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a, "zero_infinity"_a,
          "logits"_a);
}

}  // namespace ctc

#endif  // CTC_BATCH_BINDING_H_
