"""Estimating mixtures of Gaussians with diagonal covariances, one mixture from the frames aligned with its output.

The re-estimation is expectation maximisation (Dempster, Laird & Rubin 1977; the formulas for mixtures are (9.23) to
(9.26) of Bishop 2006): the likelihood of the frames never falls. Mixtures grow by splitting, as in HTK (HHEd MU).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.models.mixtures import MixtureOutput, gaussian_log_densities

FLOOR = 0.01  # least variance, as a fraction of that of all frames (HTK: HCompV -f 0.01)
FEWEST = 3.0  # frames; a Gaussian with fewer is dropped
LEAST = 1e-30  # frames, so that a Gaussian without any has a mean
STEP = 0.2  # standard deviations by which the halves of a split Gaussian move apart (HTK)


@dataclass(frozen=True)
class Mixture:
    """K Gaussians; float64."""

    weights: Tensor  # (K,), adding up to 1
    means: Tensor  # (K, D)
    variances: Tensor  # (K, D)

    @classmethod
    def single(cls, x: Tensor, floor: Tensor) -> "Mixture":
        """One Gaussian with mean and variance of the frames (F, D). `floor` (D,): least variances."""
        x = x.double()
        variances = x.var(0, correction=0).clamp(min=floor)
        return cls(torch.ones(1, dtype=torch.float64), x.mean(0, keepdim=True), variances[None])

    def __len__(self) -> int:
        return len(self.weights)

    def log_densities(self, x: Tensor) -> Tensor:
        """ln(weight * density) of the frames (F, D) for each Gaussian: (F, K)."""
        return gaussian_log_densities(x, self.weights.log()[None], self.means[None], self.variances[None])[:, 0]

    def log_likelihood(self, x: Tensor) -> float:
        """ln p of the frames (F, D), summed."""
        return float(self.log_densities(x.double()).logsumexp(1).sum())

    def shares(self, x: Tensor) -> Tensor:
        """Of each frame (F, D) the part that each Gaussian explains: (F, K), each frame's add up to 1."""
        return self.log_densities(x.double()).softmax(1)

    def reestimated(self, x: Tensor, floor: Tensor, fewest: float = FEWEST) -> "Mixture":
        """One step of expectation maximisation on the frames (F, D). Gaussians with fewer than `fewest` frames are
        dropped, but not the last."""
        shares = self.shares(x)
        counts = shares.sum(0)  # (K,)
        return self.fitted(x, shares[:, counts >= min(fewest, float(counts.max()))], floor)

    @classmethod
    def fitted(cls, x: Tensor, shares: Tensor, floor: Tensor) -> "Mixture":
        """The mixture of K Gaussians whose `shares` (F, K) of the frames (F, D) are given."""
        x, counts = x.double(), shares.sum(0).clamp(min=LEAST)
        means = shares.T @ x / counts[:, None]
        variances = shares.T @ x.square() / counts[:, None] - means.square()
        return cls(counts / counts.sum(), means, variances.clamp(min=floor))

    def split(self, size: int) -> "Mixture":
        """The mixture with `size` Gaussians: the heaviest is halved again and again, and its halves moved apart."""
        weights, means, variances = self.weights.tolist(), list(self.means), list(self.variances)
        while len(weights) < size:
            heaviest = max(range(len(weights)), key=weights.__getitem__)
            weights[heaviest] /= 2
            step = STEP * variances[heaviest].sqrt()
            weights.append(weights[heaviest])
            means.append(means[heaviest] - step)
            variances.append(variances[heaviest])
            means[heaviest] = means[heaviest] + step
        return Mixture(torch.tensor(weights, dtype=torch.float64), torch.stack(means), torch.stack(variances))


def sizes(frames: Tensor, gaussians: int, power: float = 0.25, per_gaussian: float = 20.0) -> list[int]:
    """How many of `gaussians` each mixture gets that has so many frames (V,): in proportion to a power of them.

    The power is Kaldi's (train_mono.sh: 0.25), so that rare states are not starved. A Gaussian needs `per_gaussian`
    frames, and each mixture has at least one.
    """
    shares = frames.double().pow(power)
    wanted = gaussians * shares / shares.sum()
    return torch.minimum(wanted.round(), frames / per_gaussian).clamp(min=1).long().tolist()


def variance_floor(x: Tensor) -> Tensor:
    """The least variances (D,) for mixtures of frames (F, D)."""
    return FLOOR * x.double().var(0, correction=0)


def to_output(mixtures: dict[int, Mixture], num_outputs: int, scale: float) -> MixtureOutput:
    """The output layer with `mixtures` by output number; outputs without a mixture, such as the blank, get none."""
    dim = next(iter(mixtures.values())).means.shape[1]
    layer = MixtureOutput(dim, num_outputs, max(map(len, mixtures.values())))
    for output, mixture in mixtures.items():
        size = len(mixture)
        layer.log_weights[output, :size] = mixture.weights.log().float()
        layer.means[output, :size] = mixture.means.float()
        layer.variances[output, :size] = mixture.variances.float()
    layer.scale.fill_(scale)
    return layer
