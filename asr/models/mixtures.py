"""Gaussian mixtures as a net: the outputs of a GMM-HMM. `asr hmm train` estimates them (asr.hmm.mixtures)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack
from asr.models.streaming import Net

BLOCK_FRAMES = 256  # scored at a time, to bound the memory


class MixtureOutput(nn.Module):
    """(N, F, D) -> (N, F, V): the posteriors of mixtures of K Gaussians with diagonal covariances, natural log.

    All outputs are equally probable beforehand, and log-likelihoods are multiplied by `scale`; see `asr.hmm.model.Hmm`.
    Dividing by the sum over the outputs changes nothing for the search, since all paths share it. An output whose
    weights are all zero, such as the blank, has the log-probability -inf.
    """

    def __init__(self, dim: int, num_tokens: int, gaussians: int):
        super().__init__()
        shape = (num_tokens, gaussians, dim)
        self.log_weights = nn.Parameter(torch.full(shape[:2], -math.inf), requires_grad=False)  # (V, K)
        self.means = nn.Parameter(torch.zeros(shape), requires_grad=False)  # (V, K, D)
        self.variances = nn.Parameter(torch.ones(shape), requires_grad=False)  # (V, K, D)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.scale * self.log_likelihoods(block) for block in x.flatten(0, 1).split(BLOCK_FRAMES)]
        scores = torch.cat(parts) if parts else x.new_zeros(0, len(self.means))
        return scores.log_softmax(-1).unflatten(0, x.shape[:2])

    def log_likelihoods(self, x: Tensor, outputs: Tensor | None = None) -> Tensor:
        """ln p(x | output) of frames (F, D), for all outputs or some of them (O,): (F, O)."""
        chosen = slice(None) if outputs is None else outputs
        log_weights, means, variances = self.log_weights[chosen], self.means[chosen], self.variances[chosen]
        return gaussian_log_densities(x, log_weights, means, variances).logsumexp(2)


def gaussian_log_densities(x: Tensor, log_weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """ln(weight * N(x; mean, variance)) of frames (F, D) for weights (O, K) and Gaussians (O, K, D): (F, O, K).

    -1/2 sum_d (ln(2 pi v_d) + (x_d - m_d)^2 / v_d), the square written out so that it becomes two matrix products.
    """
    precisions = 1 / variances
    constants = log_weights - 0.5 * (torch.log(2 * math.pi * variances) + means.square() * precisions).sum(2)
    linear, square = (means * precisions).flatten(0, 1), precisions.flatten(0, 1)  # (O * K, D)
    products = x @ linear.T - 0.5 * (x.square() @ square.T)  # (F, O * K)
    return products.unflatten(1, log_weights.shape) + constants


class MixtureNet(Net):
    """Each output frame is scored by itself: `subsampling` frames of features side by side."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.output = MixtureOutput(cfg.subsampling * num_features, num_tokens, cfg.gaussians)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        return self.output(x), lengths

    def chain(self) -> Sequence[nn.Module]:
        return self.stack, self.output
