"""Word confidences: posteriors from a lattice, calibrated on data with known words.

The posterior of a word is the maximum, over its frames, of the sum of the posteriors of all arcs with the same word
that cover the frame (C_max of Wessel et al. 2001). Posteriors are biased, in a way that depends on the model and the
scales. Their log-odds are therefore scaled and shifted (Platt 1999) so that, for instance, eight of ten words with
confidence 0.8 are correct. The calibration changes neither the ranking of words nor the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.search.lattice import Lattice, log_add

_LEAST = 1e-4  # posteriors are clipped to this distance from 0 and 1
_ROUNDS, _RIDGE = 50, 1e-3  # of Newton's method


def word_confidences(
    lattice: Lattice, labels: Sequence[int], evidence: Lattice | None = None, bonus: float = 0.0
) -> list[float] | None:
    """The posterior of each word of the path with these labels; None if the lattice does not contain the path.

    The posteriors are those of `evidence`, by default of the lattice itself. With phrases it is the lattice of a search
    without them: boosts prune the readings that speak against a word. A word that `evidence` does not have at this time
    gets the posterior that the path would have in it. `bonus`: nats that the path has gained in its graph costs.
    """
    path = lattice.path(labels)
    if path is None:
        return None
    evidence = lattice.unboosted if evidence is None else evidence
    posteriors, (begins, ends) = evidence.posteriors(), _frames(evidence)
    least = 0.0 if evidence is lattice else _posterior(lattice.unboosted, path, bonus, evidence)
    confidences = []
    for arc, begin, end in zip(path, *(frames[path] for frames in _frames(lattice)), strict=True):
        rivals = (evidence.arcs["word"] == lattice.arcs["word"][arc]) & (begins < end) & (ends > begin)
        share = np.zeros(end - begin + 1)  # differences of the sum from frame to frame
        np.add.at(share, np.maximum(begins[rivals], begin) - begin, posteriors[rivals])
        np.add.at(share, np.minimum(ends[rivals], end) - begin, -posteriors[rivals])
        confidences.append(float(np.clip(share.cumsum().max(), least, 1.0)))
    return confidences


def _frames(lattice: Lattice) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(A,) (A,) first and last + 1 frame of each arc."""
    begins = lattice.state_frames[lattice.arcs["from"]]
    return begins, np.maximum(lattice.state_frames[lattice.arcs["to"]], begins + 1)


def _posterior(lattice: Lattice, path: list[int], bonus: float, evidence: Lattice) -> float:
    """The posterior of a path of `lattice`, without its bonus, if it were added to `evidence`."""
    end = int(lattice.arcs["to"][path[-1]]) if path else 0
    cost = float(lattice.costs[path].sum() + lattice.final_costs[end]) + bonus
    return exp(-cost - log_add(-cost, evidence.log_masses()[0]))


@dataclass(frozen=True)
class Calibration:
    """confidence = sigmoid(scale * log-odds of the posterior + offset)."""

    scale: float = 1.0
    offset: float = 0.0

    def apply(self, posteriors: Sequence[float]) -> list[float]:
        if (self.scale, self.offset) == (1.0, 0.0):
            return list(posteriors)
        odds = self.scale * log_odds(posteriors) + self.offset
        return (1 / (1 + np.exp(-odds))).tolist()

    @classmethod
    def fit(cls, posteriors: ArrayLike, correct: ArrayLike) -> "Calibration":
        """The maximum-likelihood calibration for posteriors (W,) and the correctness (W,) of W > 0 words.

        Newton's method, with a weak prior for scale 1 and offset 0. The prior keeps the result finite if all words are
        correct, or none.
        """
        y = np.asarray(correct, float)
        x = np.stack([log_odds(posteriors), np.ones(len(y))], 1)  # (W, 2)
        prior = np.array([1.0, 0.0])
        weights = prior.copy()
        for _ in range(_ROUNDS):
            p = 1 / (1 + np.exp(-x @ weights))
            gradient = x.T @ (p - y) / len(y) + _RIDGE * (weights - prior)
            curvature = (x * (p * (1 - p))[:, None]).T @ x / len(y) + _RIDGE * np.eye(2)
            step = np.linalg.solve(curvature, gradient)
            weights -= step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        return cls(*weights.tolist())


def log_odds(posteriors: ArrayLike) -> NDArray[np.float64]:
    p = np.clip(np.asarray(posteriors, float), _LEAST, 1 - _LEAST)
    return np.log(p / (1 - p))


def calibration_error(confidences: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): the mean of |mean confidence - share correct| over bins of equal
    width, weighted by their number of words."""
    _, mean, right, words = reliability(confidences, correct, bins)
    return float((np.abs(mean - right) * words).sum() / max(words.sum(), 1))


def reliability(
    confidences: ArrayLike, correct: ArrayLike, bins: int = 10
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """For each non-empty bin: lower edge, mean confidence, share of correct words, number of words."""
    p, y = np.asarray(confidences, float), np.asarray(correct, float)
    which = np.minimum((p * bins).astype(int), bins - 1)
    words = np.bincount(which, minlength=bins)
    used = np.flatnonzero(words)
    mean, right = (np.bincount(which, v, bins)[used] / words[used] for v in (p, y))
    return used / bins, mean, right, words[used]


def coverage(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """For each threshold, in descending order: the threshold, the share of words at or above it, and the share of
    correct words among them."""
    p, y = np.asarray(confidences, float), np.asarray(correct, float)
    order = np.argsort(-p, kind="stable")
    counts = np.arange(1, len(p) + 1)
    last = np.append(np.diff(p[order]) != 0, True)[: len(p)]  # the last of equal confidences
    return p[order][last], (counts / len(p))[last], (np.cumsum(y[order]) / counts)[last]
