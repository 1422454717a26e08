"""Gaussian mixtures as a net: the outputs of a GMM-HMM. `asr hmm train` estimates them (asr.hmm.mixtures)."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, MaskedConv, frame_mask
from asr.models.streaming import Net

LEAST = -80.0  # below the largest; e to this is lost beside 1, and numbers too small for float32 take 15 times as long
BLOCK_DENSITIES, FEWEST_FRAMES = 1 << 19, 256  # scored at a time: 1 MB, but no fewer frames


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
        mixtures = BySize.of(self.log_weights, self.means, self.variances)
        parts = [
            (self.scale * mixtures.log_likelihoods(block)).log_softmax(0).T  # (f, V)
            for block in x.flatten(0, 1).split(mixtures.block_frames)
        ]
        return torch.cat(parts).unflatten(0, x.shape[:2])

    def log_likelihoods(self, x: Tensor, outputs: Tensor | None = None) -> Tensor:
        """ln p(x | output) of frames (F, D), for all outputs or some of them (O,): (F, O)."""
        chosen = slice(None) if outputs is None else outputs
        return BySize.of(self.log_weights[chosen], self.means[chosen], self.variances[chosen]).log_likelihoods(x).T


@dataclass(frozen=True)
class BySize:
    """G Gaussians of V mixtures, those of the smallest mixtures first: most mixtures have fewer than the largest, and
    no time is spent on places without one."""

    factors: Tensor  # (G, 2 D), of x and its square
    constants: Tensor  # (G, 1)
    sizes: tuple[tuple[int, int], ...]  # Gaussians of a mixture, and the number of mixtures with so many
    place: Tensor  # (V,) of each mixture in this order

    @classmethod
    def of(cls, log_weights: Tensor, means: Tensor, variances: Tensor) -> "BySize":
        """Of log weights (V, K), -inf where there is no Gaussian, means and variances (V, K, D)."""
        has = log_weights > -math.inf
        sizes, order = has.sum(1).sort(stable=True)
        chosen = has[order]  # (V, K)
        gaussians = (part[order][chosen] for part in (log_weights, means, variances))  # (G,), (G, D), (G, D)
        constants, factors = gaussian_terms(*gaussians)
        counted = zip(*(part.tolist() for part in sizes.unique_consecutive(return_counts=True)), strict=True)
        return cls(factors, constants[:, None], tuple(counted), order.argsort())

    @property
    def block_frames(self) -> int:
        """How many frames to score at a time, so that their densities fit the cache."""
        return max(FEWEST_FRAMES, BLOCK_DENSITIES // max(1, len(self.factors)))

    def log_likelihoods(self, x: Tensor) -> Tensor:
        """ln p(x | mixture) of frames (F, D): (V, F)."""
        densities = torch.addmm(self.constants, self.factors, torch.cat([x, x.square()], 1).T)  # (G, F)
        groups = densities.split([size * count for size, count in self.sizes])
        sums = [
            log_sums(group.unflatten(0, (count, size))) if size else x.new_full((count, len(x)), -math.inf)
            for group, (size, count) in zip(groups, self.sizes, strict=True)
        ]
        return torch.cat(sums)[self.place]


def log_sums(x: Tensor) -> Tensor:
    """`x.logsumexp(1)` of finite numbers; without gradients in the memory of x, as new memory takes as long as sums."""
    if x.shape[1] == 1:
        return x[:, 0]
    if torch.is_grad_enabled():
        return x.logsumexp(1)
    largest = x.amax(1, keepdim=True)
    return x.sub_(largest).clamp_(min=LEAST).exp_().sum(1).log_().add_(largest[:, 0])


def gaussian_log_densities(x: Tensor, log_weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """ln(weight * N(x; mean, variance)) of frames (F, D) for weights (O, K) and Gaussians (O, K, D): (F, O, K)."""
    constants, factors = gaussian_terms(log_weights, means, variances)
    densities = torch.addmm(constants.flatten(), torch.cat([x, x.square()], 1), factors.flatten(0, 1).T)  # (F, O * K)
    return densities.unflatten(1, log_weights.shape)


def gaussian_terms(log_weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """The log densities of Gaussians (..., D) as a product with x and its square: constants (...), factors (..., 2 D).

    -1/2 sum_d (ln(2 pi v_d) + (x_d - m_d)^2 / v_d), the square written out so that it becomes a matrix product.
    """
    precisions = 1 / variances
    constants = log_weights - 0.5 * (torch.log(2 * math.pi * variances) + means.square() * precisions).sum(-1)
    return constants, torch.cat([means * precisions, -0.5 * precisions], -1)


class MixtureNet(Net):
    """Each output frame is scored by itself, or `splice` frames on each side of it through a matrix (asr.hmm.spliced).

    With `speakers` a second set of mixtures, `adapted`, is of speech that the transform of its speaker has been applied
    to; see `for_speaker`.
    """

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        dim = cfg.subsampling * num_features
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.project = MaskedConv(dim, cfg.projected, 2 * cfg.splice + 1) if cfg.projected else None
        dim = cfg.projected or dim
        self.output = MixtureOutput(dim, num_tokens, cfg.gaussians)
        self.adapted = MixtureOutput(dim, num_tokens, cfg.gaussians) if cfg.speakers else None

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.scored(features, lengths)
        return self.output(x), lengths

    def scored(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the mixtures score: features (N, F, D) -> (N, F', D')."""
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        return self.project(x, frame_mask(lengths, x.shape[1])) if self.project else x, lengths

    def chain(self) -> Sequence[nn.Module]:
        return (self.stack, self.project, self.output) if self.project else (self.stack, self.output)

    def for_speaker(self, transform: Tensor) -> "MixtureNet":
        """The net of one speaker, whose `transform` (D', D' + 1), a matrix and a shift, is part of its matrix.

        It has the mixtures of adapted speech; only the matrix is not shared with this net.
        """
        assert self.project and self.adapted
        shared = [part for part in self.children() if part is not self.project]
        net = copy.deepcopy(self, {id(part): part for part in shared})
        assert net.project
        conv, transform = net.project.conv, transform.double()
        matrix, shift = transform[:, :-1], transform[:, -1]
        assert conv.bias is not None
        with torch.no_grad():
            conv.weight.copy_(torch.einsum("de,eck->dck", matrix, conv.weight.double()))
            conv.bias.copy_(matrix @ conv.bias.double() + shift)
        net.output = self.adapted
        return net
