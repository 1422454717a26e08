"""Frame-wise cross-entropy: the criterion of hybrid nets, whose targets are the HMM states of an alignment."""

import torch
from torch import Tensor

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


def cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """-sum ln p(target) over the frames, for log-probs (N, F, V) and targets (N, F); natural log."""
    return torch.nn.functional.nll_loss(
        log_probs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
