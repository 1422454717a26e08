"""Label priors: CTC over posteriors divided by how often each output occurs, so that paths with fewer blanks gain.

Zeyer, Schlueter, Ney 2021, "Why does CTC result in peaky behavior?" (arXiv:2105.14849), and Huang et al. 2024, "Less
peaky and more accurate CTC forced alignment by label priors" (arXiv:2406.02560). With the posteriors p, the priors P
and the scale a, an alignment pi has the weight

    prod_t p(pi_t) / P(pi_t)^a

The priors are constants of the loss. As it takes log-probs that need not be normalised, value and gradient stay exact.
"""

import numpy as np
import torch
from torch import Tensor


def less_priors(log_probs: Tensor, log_priors: Tensor, scale: float) -> Tensor:
    """ln p - a ln P: log-probs (N, F, V) and the logarithms of the priors (V,) -> (N, F, V), not normalised."""
    return log_probs - scale * log_priors.to(log_probs)


@torch.no_grad()
def total_posteriors(log_probs: Tensor, lengths: Tensor) -> np.ndarray:
    """The posteriors of each output, summed over frames and utterances in float64: (V,).

    log_probs (N, F, V): natural log-probs. lengths (N,): frames.
    """
    is_frame = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths.to(log_probs.device)[:, None]
    return log_probs[is_frame].double().exp().sum(0).cpu().numpy()


def log_priors_of(totals: np.ndarray) -> np.ndarray:
    """The logarithms of the priors (V,), of the posteriors `totals` (V,) over all frames. Each output counts for one
    frame more, so that none is impossible."""
    return np.log((totals + 1) / (totals + 1).sum())
