"""The torch operators asr::ctc_loss and asr::ctc_loss_backward over `csrc/ctc`, for the CPU and for CUDA.

The forward leaves a small state (the normaliser of each frame, one row of alpha in sqrt(T)); the backward then writes
the gradient once, already times what comes from above. A gradient made in the forward would need a second pass over
(T, N, V) for that, which costs more than the rest for a large vocabulary.
"""

import torch
from torch import Tensor

from asr import _ctc
from asr.errors import InputError

try:
    from asr import _ctc_cuda
except ImportError:  # built without nvcc
    _ctc_cuda = None

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
    return device.type == "cpu" or device.type == "cuda" and _ctc_cuda is not None


def _outputs(x: Tensor, targets: Tensor, with_state: bool) -> tuple[Tensor, Tensor]:
    """Empty losses (N,) and state (N, words), of no words if no backward follows."""
    words = 0
    if with_state and x.device.type == "cuda":
        words = _ctc_cuda.state_size(x.shape[0], 1, targets.shape[1])
    elif with_state:
        words = _ctc.state_size(*x.shape, targets.shape[1], torch.get_num_threads())
    return x.new_empty(x.shape[1]), x.new_empty((x.shape[1], words), dtype=torch.int64)


def _forward_cpu(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    losses, state = _outputs(x, targets, with_state)
    arguments = (targets, input_lengths, target_lengths, blank, zero_infinity, logits)
    try:
        _ctc.forward(x.detach(), *arguments, losses, state if with_state else None, torch.get_num_threads())
    except ValueError as e:
        raise InputError(str(e)) from None
    return losses, state


def _backward_cpu(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    grad = torch.empty_like(x)
    arguments = (targets, input_lengths, target_lengths, blank, logits)
    _ctc.backward(x.detach(), *arguments, state, upstream.detach().contiguous(), grad, torch.get_num_threads())
    return grad


def _forward_cuda(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    losses, state = _outputs(x, targets, with_state)
    memory = state if with_state else _outputs(x, targets, True)[1]
    batch = _cuda_batch(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits)
    with torch.cuda.device(x.device):
        batch.forward(losses.data_ptr(), memory.data_ptr(), _stream())
    return losses, state


def _backward_cuda(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    grad, upstream = torch.empty_like(x), upstream.contiguous()
    batch = _cuda_batch(x, targets, input_lengths, target_lengths, blank, False, logits)
    with torch.cuda.device(x.device):
        batch.backward(state.data_ptr(), upstream.data_ptr(), grad.data_ptr(), *grad.stride()[:2], _stream())
    return grad


def _cuda_batch(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits):
    kind = _ctc_cuda.FloatBatch if x.dtype == torch.float32 else _ctc_cuda.DoubleBatch
    addresses = (targets.data_ptr(), targets.shape[1], input_lengths.data_ptr(), target_lengths.data_ptr())
    return kind(x.data_ptr(), *x.shape, *x.stride()[:2], *addresses, blank, zero_infinity, logits)


def _stream() -> int:
    return torch.cuda.current_stream().cuda_stream


_LIBRARY.impl("ctc_loss", _forward_cpu, "CPU")
_LIBRARY.impl("ctc_loss_backward", _backward_cpu, "CPU")
_LIBRARY.impl("ctc_loss", _forward_cuda, "CUDA")
_LIBRARY.impl("ctc_loss_backward", _backward_cuda, "CUDA")


@torch.library.register_fake("asr::ctc_loss", lib=_LIBRARY)
def _(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    return _outputs(x, targets, with_state)


@torch.library.register_fake("asr::ctc_loss_backward", lib=_LIBRARY)
def _(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    return torch.empty_like(x)
