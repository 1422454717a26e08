"""The discriminative criteria of CTC nets: LF-MMI (CTC-CRF) and MWER. Each adds CTC with a weight."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from tqdm import tqdm

from asr.config import Config
from asr.criteria import ctc_greedy, ctc_loss
from asr.criteria.acceptor import Acceptor, occupancy
from asr.criteria.lfmmi import ctc_crf_loss
from asr.criteria.mwer import Hypothesis, expected_errors
from asr.data.dataset import Batch
from asr.data.sets import Sets
from asr.models.acoustic import AcousticModel

Readings = Callable[[np.ndarray, int], list[Hypothesis]]  # log-probs (F, V), number -> the best ones


class MmiGraphs(Protocol):
    """The paths of LF-MMI with another topology than that of CTC."""

    @property
    def denominator(self) -> Acceptor:
        """Of all texts."""

    def numerator(self, text: str) -> Acceptor:
        """Of one text."""


MakeGraphs = Callable[[Config], MmiGraphs]


class CtcCriterion:
    def __init__(self, cfg: Config):
        self.zero_infinity = cfg.criterion.zero_infinity

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        return ctc_loss(*self.arguments(log_probs, frames, batch), reduction="sum", zero_infinity=self.zero_infinity)

    @staticmethod
    def arguments(log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those of the functions of asr.criteria: log-probs (F', N, V), targets, and the lengths of both."""
        targets, lengths = (x.to(log_probs.device) for x in (batch.targets, batch.target_lengths))
        return log_probs.transpose(0, 1), targets, frames, lengths

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        pairs = zip(ctc_greedy(log_probs, frames), batch.targets, batch.target_lengths.tolist(), strict=True)
        wrong = sum(Levenshtein.distance(found, target[:n].tolist()) for found, target, n in pairs)
        return wrong, int(batch.target_lengths.sum())

    def finish(self, model: AcousticModel) -> None:
        """The search takes the net as it is."""


class LfmmiCriterion(CtcCriterion):
    """The errors are those of the most probable output of each frame, given the net and the token n-gram."""

    def __init__(self, cfg: Config, sets: Sets):
        from asr.training.token_lm import estimate  # loads the estimation of language models

        super().__init__(cfg)
        self.weight = cfg.criterion.auxiliary_weight
        self.model = estimate(
            [target.tolist() for target in sets.train.targets], len(sets.tokens), cfg.criterion.ngram_order
        )
        histories, outputs = self.model.log_prob.shape
        tqdm.write(
            f"denominator: a {cfg.criterion.ngram_order}-gram of {outputs - 1} tokens with {histories:,} histories"
        )

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        losses = ctc_crf_loss(*self.arguments(log_probs, frames, batch), self.model, self.zero_infinity)
        return losses.sum() + self.weight * super().loss(log_probs, frames, batch)

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        posteriors = occupancy(log_probs.transpose(0, 1), frames, self.model.ctc)  # (F', N, V)
        return super().errors(posteriors.transpose(0, 1), frames, batch)


class MwerCriterion(CtcCriterion):
    """The errors are those of the words that the search finds."""

    def __init__(self, cfg: Config, readings: Readings, scale: float):
        super().__init__(cfg)
        self.readings, self.scale = readings, scale
        self.weight, self.nbest = cfg.criterion.auxiliary_weight, cfg.criterion.nbest

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        found = self._search(log_probs, frames, self.nbest)
        wrong = [[_errors(h.words, text) for h in own] for own, text in zip(found, batch.texts, strict=True)]
        risks = expected_errors(log_probs.transpose(0, 1), frames, found, wrong, self.scale)
        return risks.sum() + self.weight * super().loss(log_probs, frames, batch)

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        found = self._search(log_probs, frames, 1)
        best = [own[0].words if own else [] for own in found]
        wrong = sum(_errors(words, text) for words, text in zip(best, batch.texts, strict=True))
        return wrong, sum(len(text.split()) for text in batch.texts)

    def _search(self, log_probs: Tensor, frames: Tensor, number: int) -> list[list[Hypothesis]]:
        arrays = log_probs.detach().float().cpu().numpy()
        return [self.readings(x[:n], number) for x, n in zip(arrays, frames.tolist(), strict=True)]


def _errors(words: Sequence[str], text: str) -> int:
    return Levenshtein.distance(words, text.split())
