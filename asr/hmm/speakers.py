"""Adaptation to a speaker: fMLLR, the transform of the features under which the mixtures are most likely.

Gales 1998, "Maximum likelihood linear transformations for HMM-based speech recognition" (constrained MLLR). In training
(SAT) it takes the speakers' differences out of the features before the mixtures are estimated.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.hmm.corpus import Corpus
from asr.hmm.mixtures import Mixture
from asr.hmm.training import Stage
from asr.hmm.transforms import climb
from asr.models.mixtures import MixtureOutput, gaussian_log_densities
from asr.states import States

FEWEST = 500  # frames of speech that a transform is estimated from (Kaldi: fmllr-min-count)
BLOCK_FRAMES = 512  # tallied at a time, to bound the memory
Pull = tuple[Tensor, Tensor]  # of frames: precisions (F, D), and precisions times means (F, D)


class Tally:
    """What the transform of a speaker is estimated from: the statistics of `asr.hmm.transforms.climb`."""

    def __init__(self, dim: int):
        """One frame at the mean of a Gaussian of variance 1 in each direction, so that there is always a maximum."""
        self.count = 0
        self.k = torch.eye(dim, dim + 1, dtype=torch.float64)
        self.g = torch.eye(dim + 1, dtype=torch.float64).repeat(dim, 1, 1)

    def add(self, x: Tensor, pull: Pull) -> None:
        """Frames (F, D) without a transform, and what pulls them."""
        self.count += len(x)
        extended = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)  # (F, D + 1)
        for e, precision, linear in zip(*(p.split(BLOCK_FRAMES) for p in (extended, *pull)), strict=True):
            self.g += (precision.T @ (e[:, :, None] * e[:, None]).flatten(1)).unflatten(1, self.g.shape[1:])
            self.k += linear.T @ e

    def transform(self, start: Tensor | None) -> Tensor | None:
        """The transform (D, D + 1), better than `start` or none; None if there are too few frames."""
        if self.count < FEWEST:
            return None
        return climb(
            torch.eye(*self.k.shape, dtype=torch.float64) if start is None else start, self.g, self.k, self.count
        )


def pull_of(path: NDArray[np.int32], x: Tensor, heard: MixtureOutput, wanted: MixtureOutput) -> Pull:
    """What pulls the frames x (F, D) of a path (F,): the Gaussians of `wanted`, in the shares that those of `heard`
    have in the frames."""
    precisions, linear = torch.zeros(2, *x.shape, dtype=torch.float64)
    outputs = torch.from_numpy(path)
    for output in outputs.unique():
        at = outputs == output
        gaussians = (heard.log_weights[output, None], heard.means[output, None], heard.variances[output, None])
        shares = gaussian_log_densities(x[at], *gaussians)[:, 0].softmax(1).double()  # (f, K)
        inverse = 1 / wanted.variances[output].double()  # (K, D)
        precisions[at], linear[at] = shares @ inverse, shares @ (inverse * wanted.means[output])
    return precisions, linear


def speech_of(states: States, silence: str | None) -> NDArray[np.bool_]:
    """Which outputs (V,) are those of speech."""
    return np.array([phone != silence for phone in np.array(states.phones.symbols, object)[states.phone]])


def adapted(x: Tensor, transform: Tensor | None) -> Tensor:
    """Frames (F, D) by a transform (D, D + 1)."""
    return x if transform is None else (x.double() @ transform[:, :-1].T + transform[:, -1]).float()


@dataclass
class Adaptation:
    """The transforms of the speakers of a corpus, `plain`. Dev speakers are others than those of the training set, and
    utterances without a speaker are by themselves."""

    plain: Corpus
    transforms: dict[tuple[bool, str | int], Tensor | None] = field(default_factory=dict)

    def speaker(self, number: int) -> tuple[bool, str | int]:
        name = self.plain.speakers[number]
        return number < self.plain.own, number if name is None else name

    def refine(self, stage: Stage) -> None:
        """The transforms under which the mixtures of a stage fit best; changes its features."""
        layer, states = stage.output_layer(), States.of(stage.hmm.tokens)
        assert states is not None
        is_speech = speech_of(states, stage.hmm.silence)
        tallies: dict[tuple[bool, str | int], Tally] = defaultdict(lambda: Tally(layer.means.shape[2]))
        for number, path in enumerate(stage.paths):
            if path is not None:
                heard = torch.from_numpy(is_speech[path])
                pull = pull_of(path[heard.numpy()], stage.corpus.frames(number)[heard], layer, layer)
                tallies[self.speaker(number)].add(self.plain.frames(number)[heard], pull)
        for speaker, tally in tallies.items():
            self.transforms[speaker] = tally.transform(self.transforms.get(speaker))
        count = len(stage.paths)
        stage.corpus = self.plain.with_features(
            [adapted(self.plain.frames(n), self.transforms.get(self.speaker(n))) for n in range(count)]
        )

    def unadapted(self, stage: Stage) -> dict[int, Mixture]:
        """Mixtures of speech as it is, Gaussian by Gaussian those of the stage: each is fitted to the frames that the
        other explains after adaptation."""
        floor = Stage(stage.hmm, self.plain, stage.paths).floor
        pairs = zip(stage.by_output(), stage.by_output(self.plain), strict=True)
        return stage.mixtures | {
            output: Mixture.fitted(plain, stage.mixtures[output].shares(x), floor)
            for output, (x, plain) in enumerate(pairs, start=1)
            if len(x)
        }
