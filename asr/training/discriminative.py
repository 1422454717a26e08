"""The discriminative criteria of CTC nets: LF-MMI (CTC-CRF), MWER and sMBR. Each adds CTC with a weight."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from tqdm import tqdm

from asr.config import Config
from asr.criteria import ctc_forced_align, ctc_greedy, ctc_loss
from asr.criteria.acceptor import Acceptor
from asr.criteria.lfmmi import ctc_crf_loss
from asr.criteria.mwer import Hypothesis, expected_errors, expected_path_errors
from asr.criteria.priors import less_priors
from asr.criteria.smbr import LabelLattice, expected_frame_errors
from asr.criteria.totals import occupancy
from asr.data.dataset import Batch
from asr.data.sets import Sets
from asr.models.acoustic import AcousticModel
from asr.models.layers import TokenOutput


class Search(Protocol):
    """The search of a recogniser, for log-probs (F, V)."""

    def nbest(self, log_probs: np.ndarray, number: int) -> list[Hypothesis]:
        """The best word sequences, at most `number`."""

    def lattice(self, log_probs: np.ndarray) -> LabelLattice | None:
        """The paths near the best one; None if none reaches the end of the graph."""


class MmiGraphs(Protocol):
    """The paths of LF-MMI with another topology than that of CTC."""

    @property
    def denominator(self) -> Acceptor:
        """Of all texts."""

    def numerator(self, text: str) -> Acceptor:
        """Of one text."""


MakeGraphs = Callable[[Config], MmiGraphs]


class CtcCriterion:
    """`log_priors` (V,): of the last epoch, for criterion.prior_scale and prior_subtraction; None: not known yet."""

    def __init__(self, cfg: Config):
        self.zero_infinity = cfg.criterion.zero_infinity
        self.prior_scale, self.prior_subtraction = cfg.criterion.prior_scale, cfg.criterion.prior_subtraction
        self.log_priors: Tensor | None = None

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        if self.log_priors is not None and self.prior_scale:
            log_probs = less_priors(log_probs, self.log_priors, self.prior_scale)
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

    @torch.no_grad()
    def finish(self, model: AcousticModel) -> None:
        """The search takes the net as it is, or divides its posteriors by powers of the priors. That is linear before
        the softmax of the output layer, whose sum is the same for all paths."""
        if self.log_priors is not None and self.prior_subtraction:
            output = model.net.output
            assert isinstance(output, TokenOutput)
            output.linear.bias.sub_(self.prior_subtraction * self.log_priors.to(output.linear.bias))


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

    def __init__(self, cfg: Config, search: Search, scale: float, blank_penalty: float):
        super().__init__(cfg)
        self.search, self.scale, self.blank_penalty = search, scale, blank_penalty
        self.weight, self.nbest = cfg.criterion.auxiliary_weight, cfg.criterion.nbest

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        found = [self.search.nbest(x, self.nbest) for x in arrays(log_probs, frames)]
        wrong = [[_errors(h.words, text) for h in own] for own, text in zip(found, batch.texts, strict=True)]
        x = log_probs.transpose(0, 1)
        risks = expected_errors(x, frames, found, wrong, self.scale, self.blank_penalty)
        return risks.sum() + self.weight * super().loss(log_probs, frames, batch)

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        return word_errors(self.search, log_probs, frames, batch)


class SmbrCriterion(CtcCriterion):
    """The reference of a frame is its output on the best path of the transcript, by the net as it is then. The errors
    are those of the words that the search finds."""

    def __init__(self, cfg: Config, search: Search, scale: float):
        super().__init__(cfg)
        self.search, self.scale, self.weight = search, scale, cfg.criterion.auxiliary_weight

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        paths, _ = ctc_forced_align(*self.arguments(log_probs.float(), frames, batch))  # -1: no path
        risk = frame_risk(self.search, log_probs, frames, paths, self.scale)
        return risk + self.weight * super().loss(log_probs, frames, batch)

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        return word_errors(self.search, log_probs, frames, batch)


def frame_risk(search: Search, x: Tensor, frames: Tensor, references: Tensor, scale: float) -> Tensor:
    """The expected frame errors of a batch: (). x (N, F, V): log-probs as they are searched. references (N, F): the
    output of each frame. An utterance whose first one is negative has none, and no errors."""
    references = references.cpu()
    found = [
        search.lattice(own) if len(own) and reference[0] >= 0 else None
        for own, reference in zip(arrays(x, frames), references, strict=True)
    ]
    return expected_frame_errors(x.transpose(0, 1), found, list(references.numpy()), scale).sum()


def word_risk(search: Search, x: Tensor, frames: Tensor, texts: Sequence[str], number: int, scale: float) -> Tensor:
    """The expected word errors of a batch, over the `number` best hypotheses of each utterance with their best paths:
    (). x (N, F, V): log-probs as they are searched."""
    found = [search.nbest(own, number) for own in arrays(x, frames)]
    wrong = [[_errors(h.words, text) for h in own] for own, text in zip(found, texts, strict=True)]
    return expected_path_errors(x.transpose(0, 1), found, wrong, scale).sum()


def word_errors(search: Search, x: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
    """The wrong words of a batch, and its words. x (N, F, V): log-probs as they are searched."""
    found = [search.nbest(own, 1) for own in arrays(x, frames)]
    best = [own[0].words if own else [] for own in found]
    wrong = sum(_errors(words, text) for words, text in zip(best, batch.texts, strict=True))
    return wrong, sum(len(text.split()) for text in batch.texts)


def arrays(x: Tensor, frames: Tensor) -> list[np.ndarray]:
    """The log-probs (N, F, V) of each utterance."""
    return [own[:n] for own, n in zip(x.detach().float().cpu().numpy(), frames.tolist(), strict=True)]


def _errors(words: Sequence[str], text: str) -> int:
    return Levenshtein.distance(words, text.split())
