"""CR-CTC: the frame posteriors of two differently augmented views of an utterance should agree.

Yao et al. 2024, "CR-CTC: Consistency regularization on CTC for improved speech recognition" (arXiv:2410.05101). With
the posteriors p and q of the two views in a frame, and sg() for a target without gradient, the loss of the frame is

    (KL(sg(q) || p) + KL(sg(p) || q)) / 2
"""

import torch
from torch import Tensor


def consistency_loss(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Summed over frames and utterances, in nats: (), 0 if the views agree.

    log_probs (2 N, F, V): natural log-probs of one view of N utterances, then of the other view of each.
    lengths (2 N,): their frames, equal in both views.
    """
    views = log_probs.detach().chunk(2)
    targets = torch.cat((views[1], views[0]))
    divergence = torch.nn.functional.kl_div(log_probs, targets, reduction="none", log_target=True).sum(2)  # (2 N, F)
    is_padding = torch.arange(log_probs.shape[1], device=log_probs.device) >= lengths[:, None]
    return divergence.masked_fill(is_padding, 0.0).sum() / 2
