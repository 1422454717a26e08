"""The torch operators asr::ctc_loss and asr::ctc_loss_backward over `csrc/ctc`, for the CPU and for CUDA.

The forward pass keeps a small state: the normaliser of each frame and every sqrt(T)-th row of alpha. The backward pass
writes the gradient once, already multiplied by the upstream gradient. Computing the gradient in the forward pass would
need a second pass over (T, N, V) for this product, which dominates for a large vocabulary.
"""

import logging
from functools import cache

import torch
from torch import Tensor

from asr import _ctc
from asr.errors import refusals

try:
    from asr import _ctc_cuda
except ImportError:  # built without nvcc
    _ctc_cuda = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
_LIBRARY = torch.library.Library("asr", "DEF")
_LIBRARY.define(
    "ctc_loss(Tensor x, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank, bool zero_infinity, "
    "bool logits, bool with_state) -> (Tensor losses, Tensor state)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "ctc_loss_backward(Tensor x, Tensor targets, Tensor input_lengths, Tensor target_lengths, Tensor state, "
    "Tensor upstream, int blank, bool logits) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
forward = torch.ops.asr.ctc_loss.default
backward = torch.ops.asr.ctc_loss_backward.default


def runs_on(device: torch.device) -> bool:
    """Whether the operators have kernels for the device; the caller computes on the CPU otherwise."""
    return device.type == "cpu" or device.type == "cuda" and _ctc_cuda is not None and _has_kernels(device.index or 0)


def gpu_extension():  # type: ignore[no-untyped-def]
    """The module of the CUDA kernels, for a device that `runs_on` confirms."""
    return _ctc_cuda


@torch.compiler.assume_constant_result
def _has_kernels(index: int) -> bool:
    return _find_kernels(index)


@cache
def _find_kernels(index: int) -> bool:
    """Whether the CUDA kernels are compiled for GPU `index`. Warns once per GPU if they are not."""
    with torch.cuda.device(index):
        found = _ctc_cuda.has_kernels()
    if not found:
        _log.warning(
            "the CTC kernels are not compiled for GPU %d (%s, sm_%d%d); the loss is computed on the CPU",
            index, torch.cuda.get_device_name(index), *torch.cuda.get_device_capability(index),
        )  # fmt: skip
    return found


def aligned(*tensors: Tensor) -> list[Tensor]:
    """The tensors, copied if their elements are at odd addresses, as those of torch.frombuffer can be."""
    return [t.clone() if t.data_ptr() % t.element_size() else t for t in tensors]


def make_batch(module, x, targets, input_lengths, target_lengths, blank, zero_infinity, logits):
    """The extension's view of the tensors from `check_arguments`. The tensors must outlive it."""
    kind = module.FloatBatch if x.dtype == torch.float32 else module.DoubleBatch
    addresses = (targets.data_ptr(), targets.shape[1], input_lengths.data_ptr(), target_lengths.data_ptr())
    return kind(x.data_ptr(), *x.shape, *x.stride()[:2], *addresses, blank, zero_infinity, logits)


def _outputs(x: Tensor, targets: Tensor, with_state: bool) -> tuple[Tensor, Tensor]:
    """Empty losses (N,) and state (N, words); words = 0 if there will be no backward pass."""
    (frames, batch, vocabulary), longest, words = x.shape, targets.shape[1], 0
    if with_state and x.device.type == "cuda":
        words = _ctc_cuda.state_size(frames, longest)
    elif with_state:
        words = _ctc.state_size(frames, batch, vocabulary, longest, torch.get_num_threads())
    return x.new_empty(batch), x.new_empty((batch, words), dtype=torch.int64)


def symbolic_state_size(x: Tensor, longest: int, threads: int):
    """The extensions' `state_size` for symbolic sizes; without it, torch.compile recompiles for every shape."""
    frames, batch, vocabulary = x.shape
    if x.device.type == "cuda":
        return 2 + 2 * frames + frames * (2 * longest + 1) + longest + 8 * (longest + 2)
    block = torch.sym_max(1, round(frames**0.5))
    rows = (frames + block - 1) // block + 1
    if batch < threads and batch < 1 + frames * batch * (vocabulary + 8 * longest) // 50000:
        rows = 2 * rows
    return 2 + 2 * frames + rows * 4 * (8 * (longest // 8 + 1) + 2)


def _forward_cpu(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    x, targets, input_lengths, target_lengths = aligned(x, targets, input_lengths, target_lengths)
    losses, state = _outputs(x, targets, with_state)
    batch = make_batch(_ctc, x, targets, input_lengths, target_lengths, blank, zero_infinity, logits)
    memory = state.data_ptr() if with_state else 0
    with refusals():
        batch.forward(losses.data_ptr(), memory, state.shape[1], torch.get_num_threads())
    return losses, state


def _backward_cpu(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    x, targets, input_lengths, target_lengths = aligned(x, targets, input_lengths, target_lengths)
    grad, upstream = _empty_gradient(x), upstream.contiguous()
    batch = make_batch(_ctc, x, targets, input_lengths, target_lengths, blank, False, logits)
    memory = (state.data_ptr(), state.shape[1], upstream.data_ptr(), grad.data_ptr())
    batch.backward(*memory, *grad.stride()[:2], torch.get_num_threads())
    return grad


def _forward_cuda(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    x, targets, input_lengths, target_lengths = aligned(x, targets, input_lengths, target_lengths)
    losses, state = _outputs(x, targets, with_state)
    memory = state if with_state else _outputs(x, targets, True)[1]
    batch = make_batch(_ctc_cuda, x, targets, input_lengths, target_lengths, blank, zero_infinity, logits)
    with torch.cuda.device(x.device), refusals():
        batch.forward(losses.data_ptr(), memory.data_ptr(), stream())
    return losses, state


def _backward_cuda(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    x, targets, input_lengths, target_lengths = aligned(x, targets, input_lengths, target_lengths)
    grad, upstream = _empty_gradient(x), upstream.contiguous()
    posteriors = x.new_empty((x.shape[1], x.shape[0], 2 * targets.shape[1] + 1), dtype=torch.float32)
    batch = make_batch(_ctc_cuda, x, targets, input_lengths, target_lengths, blank, False, logits)
    addresses = (state.data_ptr(), posteriors.data_ptr(), upstream.data_ptr(), grad.data_ptr())
    with torch.cuda.device(x.device):
        batch.backward(*addresses, *grad.stride()[:2], stream())
    return grad


def _empty_gradient(x: Tensor) -> Tensor:
    """Like x, with a contiguous last axis; if x overlaps itself, empty_like may choose other strides."""
    grad = torch.empty_like(x)
    return grad if grad.stride(2) == 1 else torch.empty_like(x, memory_format=torch.contiguous_format)


def stream() -> int:
    """The address of the current CUDA stream."""
    return torch.cuda.current_stream().cuda_stream


for _name, _cpu, _cuda in (
    ("ctc_loss", _forward_cpu, _forward_cuda),
    ("ctc_loss_backward", _backward_cpu, _backward_cuda),
):
    _LIBRARY.impl(_name, _cpu, "CPU")
    _LIBRARY.impl(_name, _cuda, "CUDA")
    _LIBRARY.impl(_name, torch.library.fallthrough_kernel, "Autograd")  # asr.criteria.ctc defines the gradient


@torch.library.register_fake("asr::ctc_loss", lib=_LIBRARY)
def _(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    words = symbolic_state_size(x, targets.shape[1], torch.get_num_threads()) if with_state else 0
    return x.new_empty(x.shape[1]), x.new_empty((x.shape[1], words), dtype=torch.int64)


@torch.library.register_fake("asr::ctc_loss_backward", lib=_LIBRARY)
def _(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    return _empty_gradient(x)
