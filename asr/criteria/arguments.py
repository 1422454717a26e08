"""What every function on a batch of scores and targets is given, checked and brought into one form."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asr.criteria import operators
from asr.errors import InputError

Lengths = Tensor | Sequence[int]


class Arguments(NamedTuple):
    x: Tensor  # (T, N, V) float32 or float64, the last axis packed
    targets: Tensor  # (N, S) int64, padded
    input_lengths: Tensor  # (N,) int64
    target_lengths: Tensor  # (N,) int64


def check_arguments(x: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int,
                    cpu: bool = False) -> Arguments:  # fmt: skip
    """Raises InputError for a shape or type that does not fit. Values are checked where the work is done.

    All results lie on one device: that of x if the kernels can run there, else (or if `cpu`) the CPU.
    """
    if x.dim() != 3 or not x.is_floating_point() or x.shape[2] == 0:
        raise InputError(f"x has shape {tuple(x.shape)} and type {x.dtype}; CTC needs floating (T, N, V)")
    batch, vocabulary = x.shape[1:]
    if not 0 <= blank < vocabulary:
        raise InputError(f"blank is {blank}; it must be one of the {vocabulary} outputs of x, 0..{vocabulary - 1}")
    if targets.dim() not in (1, 2) or targets.dim() == 2 and targets.shape[0] != batch or not _holds_integers(targets):
        raise InputError(
            f"targets have shape {tuple(targets.shape)} and type {targets.dtype}; "
            f"CTC needs integers, ({batch}, S) padded or one dimension with all targets joined"
        )
    device = x.device if operators.runs_on(x.device) and not cpu else torch.device("cpu")
    input_lengths = check_lengths("input_lengths", input_lengths, batch)
    target_lengths = check_lengths("target_lengths", target_lengths, batch)
    if targets.dim() == 1:
        targets = _padded(targets.cpu(), target_lengths.cpu())
    x = x.resolve_neg()
    scores = x.to(device) if x.dtype in (torch.float32, torch.float64) else x.to(device).float()
    return Arguments(
        scores if scores.stride(2) == 1 else scores.contiguous(),
        *(ints.to(device, torch.int64).contiguous() for ints in (targets, input_lengths, target_lengths)),
    )


def check_lengths(name: str, lengths: Lengths, batch: int) -> Tensor:
    """(N,) integers, on the device where they were."""
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (batch,) or batch and not _holds_integers(lengths):
        raise InputError(f"{name} have shape {tuple(lengths.shape)}; expected {batch} integers, one an utterance")
    return lengths


def _holds_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _padded(targets: Tensor, lengths: Tensor) -> Tensor:
    """Joined targets -> (N, S)."""
    if int(lengths.sum()) != len(targets) or int(lengths.clamp(max=0).sum()):
        raise InputError(f"target_lengths are {lengths.tolist()}; they must share out the {len(targets)} joined labels")
    if not len(lengths):
        return targets.view(0, 0)
    return torch.nn.utils.rnn.pad_sequence(list(targets.split(lengths.tolist())), batch_first=True)
