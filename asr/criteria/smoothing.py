"""Label smoothing for criteria over whole utterances: no posterior may vanish.

Kim, Seltzer, Li, Zhao 2018, "Improved training for online end-to-end speech recognition systems" (arXiv:1711.02212) add
the divergence of the posteriors p of each frame from V equal ones: KL(1/V || p) = -ln V - (sum_v ln p_v) / V.
"""

import math

import torch
from torch import Tensor


def smoothing_loss(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Summed over frames and utterances, in nats: (), 0 if all posteriors are equal.

    log_probs (N, F, V): natural log-probs. lengths (N,): frames.
    """
    divergence = -log_probs.mean(2) - math.log(log_probs.shape[2])  # (N, F)
    is_padding = torch.arange(log_probs.shape[1], device=log_probs.device) >= lengths[:, None]
    return divergence.masked_fill(is_padding, 0.0).sum()
