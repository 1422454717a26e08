"""CTC alignments: greedy decoding, forced alignment of a target, and token posteriors per frame."""

import torch
from torch import Tensor

from asr import _ctc
from asr.criteria import operators
from asr.criteria.arguments import Arguments, Lengths, check_arguments, check_lengths
from asr.errors import InputError, refusals


def ctc_greedy(log_probs: Tensor, lengths: Lengths, blank: int = 0) -> list[list[int]]:
    """Greedy decoding: the best output of each frame, with repeats merged and then blanks removed.

    log_probs: (N, F, V). lengths: (N,) frames. Returns N lists of tokens. Raises InputError for a shape or length that
    does not fit.
    """
    if log_probs.dim() != 3:
        raise InputError(f"log_probs have shape {tuple(log_probs.shape)}; expected (N, F, V)")
    best = log_probs.argmax(dim=2).cpu()  # (N, F)
    frames = check_lengths("lengths", lengths, len(best)).tolist()
    if wrong := [n for n in frames if not 0 <= n <= best.shape[1]]:
        raise InputError(f"length {wrong[0]} is outside 0..{best.shape[1]}, the frames of log_probs")
    paths = (torch.unique_consecutive(path[:n]).tolist() for path, n in zip(best, frames, strict=True))
    return [[token for token in path if token != blank] for path in paths]


def ctc_forced_align(
    x: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int = 0, logits: bool = False
) -> tuple[Tensor, Tensor]:
    """The most probable alignment of each utterance with its target (Viterbi), computed on the CPU.

    The arguments are those of `ctc_loss`. Returns paths (N, T) int64, the label or blank of each frame, and log-probs
    (N, T), the natural log-probability of that output; after the end of an utterance they are -1 and 0. If there is no
    alignment (`ctc_infeasible`), the whole path is -1 and the log-probs are -inf, or NaN if the log-probs of the target
    include NaN.

    Raises InputError for a shape, length or label that does not fit.
    """
    a = check_arguments(x.detach(), targets, input_lengths, target_lengths, blank, cpu=True)
    a = Arguments(*operators.aligned(*a))
    frames, batch, _ = a.x.shape
    paths, log_probs = a.targets.new_empty((batch, frames)), a.x.new_empty((batch, frames))
    view = operators.make_batch(_ctc, *a, blank, False, logits)
    with refusals():
        view.align(paths.data_ptr(), log_probs.data_ptr(), torch.get_num_threads())
    return paths.to(x.device), log_probs.to(x.device)


def ctc_occupancy(
    x: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int = 0, logits: bool = False
) -> Tensor:
    """The posterior of each output in each frame, over all alignments of the target: (T, N, V).

    The arguments are those of `ctc_loss`. Each frame of an utterance sums to 1; after its end, and for an utterance
    without an alignment, all values are 0. If the log-probs of the target include NaN, they are NaN.

    Raises InputError for a shape, length or label that does not fit.
    """
    a = check_arguments(x.detach(), targets, input_lengths, target_lengths, blank)
    losses, state = operators.forward(*a, blank, True, logits, True)
    # The gradient of the loss with respect to log-probs is the negative posterior.
    return operators.backward(*a, state, torch.full_like(losses, -1), blank, False).to(x.device)
