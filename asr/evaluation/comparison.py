"""Two recognisers on the same utterances: whether the difference of their error rates is more than chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import InputError
from asr.evaluation.score import Counts, Score, UtteranceScore

_BLOCK = 1 << 22  # bootstrap draws in memory at a time


@dataclass(frozen=True)
class Comparison:
    """The pooled error rates of two recognisers, and their difference, first less second.

    `interval` has 95 % of the bootstrap differences; `better` is the share in which the first makes fewer errors.
    """

    first: float
    second: float
    interval: tuple[float, float]
    better: float

    @property
    def difference(self) -> float:
        return self.first - self.second

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside the interval."""
        return not self.interval[0] <= 0 <= self.interval[1]


def paired_bootstrap(
    first: Sequence[Counts], second: Sequence[Counts], resamples: int = 1000, seed: int = 1
) -> Comparison:
    """Bootstrap over utterances that both have recognised (Bisani & Ney, ICASSP 2004): each resample draws utterances
    and takes the errors of both recognisers on them.

    Raises InputError if there is no utterance, or if the counts are not of the same references.
    """
    if not first or [c.reference for c in first] != [c.reference for c in second]:
        raise InputError("a paired comparison needs the errors of both recognisers on the same references")
    errors = np.array([[c.errors for c in first], [c.errors for c in second]])
    return compare(errors, np.array([c.reference for c in first]), resamples, seed)


def compare(errors: np.ndarray, references: np.ndarray, resamples: int = 1000, seed: int = 1) -> Comparison:
    """The same for the errors (2, U) of both on U utterances, whose references have so many units (U,).

    Weighted utterances have both multiplied by their weight.
    """
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    block = max(1, _BLOCK // len(references))
    for start in range(0, resamples, block):
        drawn = rng.integers(len(references), size=(min(block, resamples - start), len(references)))  # (B, U)
        fewer = (errors[0] - errors[1])[drawn].sum(1)
        totals = references[drawn].sum(1)
        differences[start : start + len(drawn)] = fewer / np.where(totals, totals, 1)
    low, high = np.quantile(differences, [0.025, 0.975])
    total = references.sum() or 1
    rates = errors.sum(1) / total
    better = float((differences < 0).mean() + 0.5 * (differences == 0).mean())
    return Comparison(float(rates[0]), float(rates[1]), (float(low), float(high)), better)


def pair(first: Score, second: Score) -> list[tuple[UtteranceScore, UtteranceScore]]:
    """The utterances that both scores have, in the order of the first.

    Raises InputError if they share none, or if an utterance has another reference in the second.
    """
    others = {u.id: u for u in second.utterances}
    pairs = [(u, others[u.id]) for u in first.utterances if u.id in others]
    if not pairs:
        raise InputError("the two runs have no utterance in common; decode the same set with both")
    for own, other in pairs:
        if reference(own) != reference(other):
            raise InputError(f"the utterance '{own.id}' has other words in the other run's references: "
                             f"'{reference(own)}' and '{reference(other)}'; decode the same set with both")  # fmt: skip
    return pairs


def reference(utterance: UtteranceScore) -> str:
    """The text that was compared with."""
    return " ".join(edit.ref for edit in utterance.edits if edit.ref)


def hypothesis(utterance: UtteranceScore) -> str:
    return " ".join(edit.hyp for edit in utterance.edits if edit.hyp)
