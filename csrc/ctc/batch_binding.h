// The Python class of a Batch, the same for both devices. Arrays are passed as addresses: reading the shapes
// of eight tensors through DLPack takes longer than the loss of a short utterance, and on a GPU it would wait
// for another stream. asr/criteria/arguments.py checks what the addresses point to.
#pragma once

#include <nanobind/nanobind.h>

#include "ctc.h"

namespace asr::ctc {

template <class T>
T* At(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class Scalar>
nanobind::class_<Batch<Scalar>> DefineBatch(nanobind::module_& m, const char* name) {
  using namespace nanobind::literals;
  return nanobind::class_<Batch<Scalar>>(m, name,
                                         "Net outputs and targets, given by their addresses: see ctc.h.")
      .def(
          "__init__",
          [](Batch<Scalar>* self, uintptr_t x, int64_t frames, int64_t batch, int64_t vocabulary,
             int64_t stride_t, int64_t stride_n, uintptr_t targets, int64_t longest_target,
             uintptr_t input_lengths, uintptr_t target_lengths, int64_t blank, bool zero_infinity,
             bool logits) {
            new (self) Batch<Scalar>{At<const Scalar>(x),
                                     frames,
                                     batch,
                                     vocabulary,
                                     stride_t,
                                     stride_n,
                                     At<const int64_t>(targets),
                                     longest_target,
                                     At<const int64_t>(input_lengths),
                                     At<const int64_t>(target_lengths),
                                     blank,
                                     zero_infinity,
                                     logits};
          },
          "x"_a, "frames"_a, "batch"_a, "vocabulary"_a, "stride_t"_a, "stride_n"_a, "targets"_a,
          "longest_target"_a, "input_lengths"_a, "target_lengths"_a, "blank"_a, "zero_infinity"_a,
          "logits"_a);
}

}  // namespace asr::ctc
