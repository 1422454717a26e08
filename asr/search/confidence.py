"""Word confidences: posteriors from a lattice, calibrated on data with known words.

The posterior of a word is the maximum, over its frames, of the sum of the posteriors of all arcs with the same word
that cover the frame (C_max of Wessel et al. 2001). Posteriors are biased, in a way that depends on the model and the
scales. Their log-odds are therefore scaled and shifted (Platt 1999) so that, for instance, eight of ten words with
confidence 0.8 are correct. The calibration changes neither the ranking of words nor the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rapidfuzz.distance import Levenshtein

from asr.search.lattice import Lattice, log_add

READINGS = 200  # of a lattice; the mass of others is small
_LEAST = 1e-4  # posteriors are clipped to this distance from 0 and 1
_ROUNDS, _RIDGE = 50, 1e-3  # of Newton's method


def word_confidences(lattice: Lattice, labels: Sequence[int]) -> list[float] | None:
    """The posterior of each word of the path with these labels; None if the lattice does not contain the path."""
    path = lattice.path(labels)
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


def confidences_by(
    evidence: Lattice, lattice: Lattice, labels: Sequence[int], bonus: float = 0.0
) -> list[float] | None:
    """As `word_confidences`, but by the posteriors of another search, without the preferences of `lattice`.

    Preferences, as boosts of phrases, also prune what speaks against a word, so the posteriors of `lattice` itself do
    not do. The path need not be in `evidence`. A word's posterior is the share of the readings of `evidence` that have
    it when they are aligned with the path (Xu et al. 2011): a word that was said once and found twice counts once. It
    is at least the posterior that the path would have in `evidence`. `bonus`: nats that the path has gained in its
    graph costs.
    """
    path = lattice.path(labels)
    if path is None:
        return None
    least = _posterior(lattice.unboosted, path, bonus, evidence)
    return np.clip(_shares(evidence, labels), least, 1.0).tolist()


def _shares(lattice: Lattice, labels: Sequence[int]) -> NDArray[np.float64]:
    """(W,) the share of paths that have each word, aligned by edit distance.

    The distance to the first q words is averaged over all paths to a state; each arc then takes one step of the
    alignment for all of these paths. Algorithm 2 of Xu et al., "Minimum Bayes Risk decoding and system combination
    based on a recursion for edit distance", 2011.
    """
    words, places = np.array(labels, np.int64), np.arange(len(labels) + 1.0)
    posteriors, sources, targets = lattice.posteriors(), lattice.arcs["from"], lattice.arcs["to"]
    reached = np.bincount(targets, posteriors, lattice.num_states)  # the share of paths through each state
    reached[0] = 1.0
    weights = posteriors / np.maximum(reached[targets], 1e-300)
    distances = np.zeros((lattice.num_states, len(places)))
    distances[0] = places

    def step(arc: int) -> tuple[NDArray, NDArray, NDArray]:
        """Distances after the arc: of its word in place of the q-th, of one word more, and of the best choice."""
        before = distances[sources[arc]]
        instead = np.append(np.inf, before[:-1] + (words != lattice.arcs["word"][arc]))
        best = np.minimum(instead, before + 1)
        return instead, before + 1, np.minimum.accumulate(best - places) + places

    for arc in range(lattice.num_arcs):
        distances[targets[arc]] += weights[arc] * step(arc)[2]
    shares, mass = np.zeros(len(labels)), np.zeros(distances.shape)  # mass: of paths that are aligned with q words
    mass[:, -1] = np.maximum(0.0, reached - np.bincount(sources, posteriors, lattice.num_states))  # of their ends
    for arc in range(lattice.num_arcs - 1, -1, -1):
        source, here = sources[arc], weights[arc] * mass[targets[arc]]
        instead, more, best = step(arc)
        for q in range(len(labels), -1, -1):
            if here[q] == 0:
                continue
            if min(instead[q], more[q]) > best[q]:
                here[q - 1] += here[q]  # the arc has no word for the q-th
            elif instead[q] <= more[q]:
                mass[source, q - 1] += here[q]
                shares[q - 1] += here[q] * (words[q - 1] == lattice.arcs["word"][arc])
            else:
                mass[source, q] += here[q]
    return shares


def shares_of_words(lattice: Lattice, words: Sequence[str], text: Callable[[list[int]], str]) -> list[float]:
    """As `confidences_by`, for `words` that are joined from several labels each; `text` joins those of a reading.

    The readings are the cheapest `READINGS` of the lattice, weighted without their boosts.
    """
    readings = lattice.unboosted.nbest(READINGS)
    weights = np.exp(-np.array([r.cost for r in readings]) + min((r.cost for r in readings), default=0.0))
    shares = np.zeros(len(words))
    for reading, weight in zip(readings, weights, strict=True):
        for same in Levenshtein.opcodes(words, text(reading.labels).split()):
            if same.tag == "equal":
                shares[same.src_start : same.src_end] += weight
    return np.clip(shares / max(weights.sum(), 1e-300), 0.0, 1.0).tolist()


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
