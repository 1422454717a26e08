"""How sure a word is: posteriors out of a lattice, made honest on data with known words.

A word's posterior is the share of the lattice's weight that says this word at this time: the highest sum, over the
frames of the word, of the posteriors of all arcs with the same word that cover the frame (C_max of Wessel et al. 2001).
Posteriors lean to one side with every model and scale; so their log-odds are scaled and moved (Platt 1999) such that of
the words with confidence 0.8 eight of ten are right. The order of words stays, and no word of the text changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.search.lattice import Lattice

_LEAST = 1e-4  # posteriors are held this far from 0 and 1
_ROUNDS, _RIDGE = 50, 1e-3  # of Newton's method


def word_confidences(lattice: Lattice, labels: Sequence[int]) -> list[float] | None:
    """Posterior of each word of the path with these labels; None where the lattice does not hold the path."""
    path = _find(lattice, labels)
    if path is None:
        return None
    posteriors = lattice.posteriors()
    begins = lattice.state_frames[lattice.arcs["from"]]
    ends = np.maximum(lattice.state_frames[lattice.arcs["to"]], begins + 1)
    confidences = []
    for arc in path:
        begin, end = begins[arc], ends[arc]
        rivals = (lattice.arcs["word"] == lattice.arcs["word"][arc]) & (begins < end) & (ends > begin)
        share = np.zeros(end - begin + 1)  # differences of the sum from frame to frame
        np.add.at(share, np.maximum(begins[rivals], begin) - begin, posteriors[rivals])
        np.add.at(share, np.minimum(ends[rivals], end) - begin, -posteriors[rivals])
        confidences.append(float(np.clip(share.cumsum().max(), 0.0, 1.0)))
    return confidences


def _find(lattice: Lattice, labels: Sequence[int]) -> list[int] | None:
    """The arcs of a path."""
    if lattice.num_states == 0:
        return None
    state, path = 0, []
    for label in labels:
        first, end = lattice.first[state], lattice.first[state + 1]
        arcs = first + np.flatnonzero(lattice.arcs["word"][first:end] == label)
        if not len(arcs):
            return None
        path.append(int(arcs[0]))
        state = int(lattice.arcs["to"][path[-1]])
    return path


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
        """The likeliest one for words of known correctness, (W,) each, W > 0: Newton's method, drawn a little towards
        scale 1 and offset 0, which also bounds it where all words are right, or all wrong."""
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
    """Expected calibration error (Guo et al. 2017): |mean confidence - share correct|, over bins of equal width,
    weighted by the words in them."""
    _, mean, right, words = reliability(confidences, correct, bins)
    return float((np.abs(mean - right) * words).sum() / max(words.sum(), 1))


def reliability(
    confidences: ArrayLike, correct: ArrayLike, bins: int = 10
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Of each bin with words in it its lower edge, mean confidence, share correct, number of words."""
    p, y = np.asarray(confidences, float), np.asarray(correct, float)
    which = np.minimum((p * bins).astype(int), bins - 1)
    words = np.bincount(which, minlength=bins)
    used = np.flatnonzero(words)
    mean, right = (np.bincount(which, v, bins)[used] / words[used] for v in (p, y))
    return used / bins, mean, right, words[used]


def coverage(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """For every threshold that parts words: the threshold, the share of words at or above it, and of these the share
    correct. Descending thresholds."""
    p, y = np.asarray(confidences, float), np.asarray(correct, float)
    order = np.argsort(-p, kind="stable")
    counts = np.arange(1, len(p) + 1)
    last = np.append(np.diff(p[order]) != 0, True)[: len(p)]  # of equal confidences
    return p[order][last], (counts / len(p))[last], (np.cumsum(y[order]) / counts)[last]
