"""The common arguments of the CTC functions, checked and converted to one form."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asr.criteria import operators
from asr.errors import InputError

MOST = 2**31 - 1  # largest size of a dimension: positions and outputs have 31-bit numbers in the kernels
Lengths = Tensor | Sequence[int]


class Arguments(NamedTuple):
    x: Tensor  # (T, N, V) float32 or float64, the last axis packed
    targets: Tensor  # (N, S) int64, padded
    input_lengths: Tensor  # (N,) int64
    target_lengths: Tensor  # (N,) int64


def check_arguments(x: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int,
                    cpu: bool = False) -> Arguments:  # fmt: skip
    """Check and convert the arguments. Raises InputError for a wrong shape or type; the kernels check the values.

    The results are all on one device: the device of x if kernels exist for it and not `cpu`, otherwise the CPU.
    """
    if x.dim() != 3 or not x.is_floating_point() or x.shape[2] == 0:
        raise InputError(f"x has shape {tuple(x.shape)} and type {x.dtype}; expected floating point (T, N, V)")
    batch, vocabulary = x.shape[1:]
    if any(size > MOST for size in (*x.shape, *targets.shape)):
        raise InputError(f"x has shape {tuple(x.shape)}, targets {tuple(targets.shape)}; each size must be below 2^31")
    if not 0 <= blank < vocabulary:
        raise InputError(f"blank is {blank}; it must be one of the {vocabulary} outputs of x, 0..{vocabulary - 1}")
    if targets.dim() not in (1, 2) or targets.dim() == 2 and targets.shape[0] != batch or not _holds_integers(targets):
        raise InputError(
            f"targets have shape {tuple(targets.shape)} and type {targets.dtype}; "
            f"expected integers, ({batch}, S) padded or all targets concatenated in one dimension"
        )
    device = x.device if operators.runs_on(x.device) and not cpu else torch.device("cpu")
    input_lengths = check_lengths("input_lengths", input_lengths, batch)
    target_lengths = check_lengths("target_lengths", target_lengths, batch)
    if targets.dim() == 1:
        targets = _padded(targets.cpu(), target_lengths.cpu())
    x = x.resolve_neg()
    outputs = x.to(device) if x.dtype in (torch.float32, torch.float64) else x.to(device).float()
    return Arguments(
        outputs if outputs.stride(2) == 1 else outputs.contiguous(),
        *(ints.to(device, torch.int64).contiguous() for ints in (targets, input_lengths, target_lengths)),
    )


def check_lengths(name: str, lengths: Lengths, batch: int) -> Tensor:
    """The lengths as an (N,) tensor of integers on their own device. Raises InputError for another shape or type."""
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (batch,) or batch and not _holds_integers(lengths):
        raise InputError(f"{name} have shape {tuple(lengths.shape)}; expected {batch} integers, one per utterance")
    return lengths


def _holds_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _padded(targets: Tensor, lengths: Tensor) -> Tensor:
    """Concatenated targets -> padded (N, S)."""
    if int(lengths.sum()) != len(targets) or int(lengths.clamp(max=0).sum()):
        raise InputError(
            f"target_lengths are {lengths.tolist()}; their sum must be the number of labels, {len(targets)}"
        )
    if not len(lengths):
        return targets.view(0, 0)
    return torch.nn.utils.rnn.pad_sequence(list(targets.split(lengths.tolist())), batch_first=True)
