"""Frame-wise cross-entropy: the criterion of hybrid nets, whose targets are the HMM states of an alignment."""

import torch
from torch import Tensor

from asr.tokens import BLANK_ID

IGNORED = -100  # the target of padded frames


def frame_targets(targets: Tensor, target_lengths: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """The target of each frame: (N, F), `IGNORED` in padding.

    targets (N, L): alignments of `target_lengths` (N,) frames each, which are stretched to the `lengths` (N,) of the
    net's output: frame f of F takes the target at (f + 1/2) L / F. So speech at another speed keeps its states.
    """
    f = torch.arange(frames, device=targets.device)
    ratio = target_lengths / lengths.clamp(min=1)  # (N,)
    at = ((f + 0.5) * ratio[:, None]).long().minimum(target_lengths[:, None] - 1).clamp(min=0)  # (N, F)
    return targets.gather(1, at).masked_fill(f >= lengths[:, None], IGNORED)


def path_targets(targets: Tensor, target_lengths: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """As `frame_targets`, for paths of CTC, whose tokens may last one frame: where a frame of the net stands for more
    than one and the target in its middle is a blank, it takes the first of them that is none."""
    middle = frame_targets(targets, target_lengths, lengths, frames)  # (N, F)
    size, place = targets.shape[1], torch.arange(targets.shape[1], device=targets.device)
    is_token = (targets != BLANK_ID) & (place < target_lengths[:, None])
    following = place.where(is_token, size).flip(1).cummin(1).values.flip(1)  # (N, L) the next token's frame, or L
    f = torch.arange(frames + 1, device=targets.device)
    edges = f * target_lengths[:, None] // lengths.clamp(min=1)[:, None]  # (N, F + 1)
    first = following.gather(1, edges[:, :-1].clamp(max=size - 1))  # (N, F)
    is_taken = (middle == BLANK_ID) & (first < edges[:, 1:]) & (target_lengths > lengths)[:, None]
    return targets.gather(1, first.clamp(max=size - 1)).where(is_taken, middle)


def cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """-sum ln p(target) over the frames, for log-probs (N, F, V) and targets (N, F); natural log."""
    return torch.nn.functional.nll_loss(
        log_probs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
