"""Word confidences: posteriors from a lattice, calibrated on data with known words.

The posterior of a word is the maximum, over its frames, of the sum of the posteriors of all arcs with the same word
that cover the frame (C_max of Wessel et al. 2001). Posteriors are biased, in a way that depends on the model and the
scales. Their log-odds are therefore scaled and shifted (Platt 1999) so that, for instance, eight of ten words with
confidence 0.8 are correct. The calibration changes neither the ranking of words nor the text.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rapidfuzz.distance import Levenshtein

from asr.config import DecoderConfig
from asr.search.consensus import READINGS, WordArcs, align
from asr.search.lattice import Lattice, log_add

_OF_SEARCH = (
    "kind",
    "beam",
    "max_active",
    "min_active",
    "acoustic_scale",
    "word_penalty",
    "blank_penalty",
    "blank_skip",
    "lattice_beam",
    "mbr",
    "pad_s",
)
_OF_SECOND_PASS = ("rescore_share", "rescore_penalty", "rescore_nbest", "rescore_order")
_log = logging.getLogger(__name__)
_LEAST = 1e-4  # posteriors are clipped to this distance from 0 and 1
_MOST_ODDS = log((1 - _LEAST) / _LEAST)
_ROUNDS, _LEAST_STEP = 50, 1e-9  # of Newton's method


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
    found = align(WordArcs.of_lattice(evidence, evidence.arcs["word"].tolist()), labels).shares
    shares = [share.get(label, 0.0) for share, label in zip(found, labels, strict=True)]
    return np.clip(shares, least, 1.0).tolist()


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


def search_of(cfg: DecoderConfig) -> list[str]:
    """The options of the search that posteriors depend on: a calibration fits this search alone."""
    found = [f"{name}={_plain(getattr(cfg, name))}" for name in _OF_SEARCH]
    if cfg.rescore is None:
        return [*found, "rescore=None"]
    return [*found, "rescore=given", *(f"{name}={_plain(getattr(cfg, name))}" for name in _OF_SECOND_PASS)]


def _plain(value: object) -> object:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def warn_if_uncalibrated(cfg: DecoderConfig) -> None:
    """Warns if the confidences were calibrated with other options of the search."""
    now = dict(option.split("=", 1) for option in search_of(cfg))
    before = dict(option.split("=", 1) for option in cfg.calibrated_for if "=" in option)
    others = [name for name, value in before.items() if now.get(name, value) != value]
    if others:
        _warn_once(*(", ".join(f"{name}={options[name]}" for name in others) for options in (before, now)))


@lru_cache(maxsize=100)
def _warn_once(before: str, now: str) -> None:
    _log.warning("the confidences were calibrated with %s, but the search has %s, so their values may be wrong; run "
                 "`asr calibrate` with the options of the search", before, now)  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """confidence = sigmoid((scale + clarity * mean) * log-odds of the posterior + offset).

    `mean` is that of the log-odds of the words of the utterance, from 0 (where it is negative) to 1, all words certain:
    in an utterance that is hard as a whole, the posteriors of its words are believed less. Words of one utterance keep
    their order.
    """

    scale: float = 1.0
    offset: float = 0.0
    clarity: float = 0.0

    def apply(self, posteriors: Sequence[float]) -> list[float]:
        """The confidences of the words of one utterance."""
        if self == Calibration():
            return list(posteriors)
        return self.of_utterances(posteriors, np.zeros(len(posteriors), int)).tolist()

    def of_utterances(self, posteriors: ArrayLike, utterances: ArrayLike) -> NDArray[np.float64]:
        """The confidences of words (W,) by the numbers of their utterances (W,)."""
        odds = log_odds(posteriors)
        scales = self.scale + self.clarity * _mean_odds(odds, utterances)
        return 1 / (1 + np.exp(-scales * odds - self.offset))

    def formula(self) -> str:
        scale = f"{self.scale:.3f}"
        if self.clarity:
            scale = f"({scale} + {self.clarity:.3f} * the utterance's mean share of the largest log-odds)"
        return f"confidence = sigmoid({scale} * log-odds + {self.offset:.3f})"

    @classmethod
    def fit(cls, posteriors: ArrayLike, correct: ArrayLike, utterances: ArrayLike | None = None) -> "Calibration":
        """The most likely calibration for posteriors (W,) and the correctness (W,) of W > 0 words.

        With `clarity` if the numbers of their utterances (W,) are given; then neither it nor `scale` is negative,
        unless surer words are more often wrong."""
        odds, y = log_odds(posteriors), np.asarray(correct, float)
        ones = np.ones(len(y))
        if utterances is not None:
            relative = odds * _mean_odds(odds, utterances)
            scale, clarity, offset = _logistic(np.stack([odds, relative, ones], 1), y, np.array([1.0, 0.0, 0.0]))
            if scale < 0 <= clarity:
                scale, (clarity, offset) = 0.0, _logistic(np.stack([relative, ones], 1), y, np.array([0.0, 0.0]))
            if clarity >= 0:
                return cls(float(scale), float(offset), float(clarity))
        return cls(*_logistic(np.stack([odds, ones], 1), y, np.array([1.0, 0.0])).tolist())


def _logistic(x: NDArray[np.float64], y: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights (D,) of a logistic regression of y (W,) on x (W, D), by Newton's method.

    Each weight is expected to be near its `prior` (a normal distribution of variance 1), which keeps the result finite
    if all words are correct, or none. A full step may overshoot where many posteriors are near 1, so it is halved until
    the loss, which is convex, falls.
    """

    def loss(weights: NDArray[np.float64]) -> float:
        odds = x @ weights
        return float((np.logaddexp(0, odds) - y * odds).mean() + ridge / 2 * ((weights - prior) ** 2).sum())

    ridge, weights = 1 / len(y), prior.copy()
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) / len(y) + ridge * (weights - prior)
        curvature = (x * (p * (1 - p))[:, None]).T @ x / len(y) + ridge * np.eye(len(prior))
        step, before = np.linalg.solve(curvature, gradient), loss(weights)
        while loss(weights - step) > before and np.abs(step).max() > _LEAST_STEP:
            step /= 2
        weights -= step
        if np.abs(step).max() <= _LEAST_STEP:
            break
    return weights


def _mean_odds(odds: NDArray[np.float64], utterances: ArrayLike) -> NDArray[np.float64]:
    """(W,) the mean of the log-odds (W,) of each word's utterance, as a share of the largest; at least 0."""
    which = np.unique(np.asarray(utterances), return_inverse=True)[1]
    means = np.bincount(which, odds) / np.bincount(which)
    return np.clip(means / _MOST_ODDS, 0.0, 1.0)[which]


def log_odds(posteriors: ArrayLike) -> NDArray[np.float64]:
    p = np.clip(np.asarray(posteriors, float), _LEAST, 1 - _LEAST)
    return np.log(p / (1 - p))


def ranking(confidences: ArrayLike, correct: ArrayLike) -> float:
    """The probability that a correct word has a higher confidence than a wrong one, equal ones counted half (area under
    the ROC curve). NaN if all words are correct, or none."""
    p, y = np.asarray(confidences, float), np.asarray(correct, bool)
    _, number, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[number]  # from 1; the mean rank of equal ones
    right, wrong = int(y.sum()), int((~y).sum())
    return float((ranks[y].sum() - right * (right + 1) / 2) / (right * wrong)) if right and wrong else float("nan")


def information(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Normalised cross-entropy (NIST): the share of the uncertainty about which words are correct that the confidences
    remove. 1: all of it; 0: none; below 0 if the share of correct words alone says more. NaN as in `ranking`."""
    p = np.clip(np.asarray(confidences, float), _LEAST, 1 - _LEAST)
    y = np.asarray(correct, bool)
    share = y.mean() if len(y) else 0.0
    if not 0 < share < 1:
        return float("nan")
    most = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(1 + np.log(np.where(y, p, 1 - p)).mean() / most)


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
