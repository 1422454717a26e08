"""Back-off arithmetic on arrays of n-grams: their probabilities, and back-off weights that normalise a model.

p(w | h) = the listed probability of h w, else backoff(h) p(w | h'),     h' is h without its first word
backoff(h) = (M(h) - sum of p(w | h)) / (M(h') - sum of p(w | h')),      sums over the words w listed after h

M(h), the mass of h, is the sum of p(w | h) over all words w: 1, or less in a model that was restricted to some words
(`asr.lm.filter`). `masses[n][row]` is the mass of row `row` of order n, `masses[0][0]` that of the empty history ().
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from asr.errors import InputError
from asr.lm.model import NgramModel, find, find_sorted
from asr.lm.score import NO_TEXT, Score
from asr.words import BEGIN, END, UNKNOWN

IMPOSSIBLE = -100.0  # log10 probability of an unknown word in a model without `<unk>`, as in csrc/lm/scorer.cc
_BLOCK = 1 << 20  # n-grams per look-up
_NO_BACKOFF = 4e-7  # log10 back-offs nearer to 0 are rounding errors


def log10_prob(model: NgramModel, ids: np.ndarray) -> np.ndarray:
    """log10 p(last word | the words before it) of each row of `ids` (R, n), backing off where needed: (R,) float64.

    An id of -1 is an unknown word: no n-gram contains it, and as the last word it gets -inf.
    """
    ids = ids[:, -model.order :]
    values = np.zeros(len(ids))
    with tqdm(total=len(ids), unit=" n-grams", unit_scale=True, desc="look up", delay=2.0, leave=False) as bar:
        for start in range(0, len(ids), _BLOCK):
            block = slice(start, start + _BLOCK)
            values[block] = _log10_prob(model, ids[block])
            bar.update(len(ids[block]))
    return values


def _log10_prob(model: NgramModel, ids: np.ndarray) -> np.ndarray:
    base = len(model.words)
    values = np.zeros(len(ids))
    left = np.arange(len(ids))  # rows whose n-gram is not found yet
    for n in range(ids.shape[1], 0, -1):
        history, word = ids[left, -n:-1], ids[left, -1]
        row = find(model.keys, history, base)  # of the history, in order n - 1
        row[(history < 0).any(1)] = -1
        found = find_sorted(model.keys[n - 1], np.where((row < 0) | (word < 0), -1, row * base + word))
        listed = found >= 0
        values[left[listed]] += model.orders[n - 1].log10_prob[found[listed]]
        left, row = left[~listed], row[~listed]
        if n > 1:
            values[left] += np.where(row < 0, 0.0, model.orders[n - 2].log10_backoff[row])
    values[left] = -np.inf
    return values


def of_longest_suffix(model: NgramModel, ids: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray:
    """The value of the longest listed suffix of each n-gram `ids` (R, k): `values[n][row]` for row `row` of order n.

    `values[0][0]` is the value of (). Suffixes of orders that `values` does not have are ignored. An id of -1 is in no
    listed n-gram.
    """
    found = np.full(len(ids), values[0][0])
    left = np.arange(len(ids))
    for n in range(min(ids.shape[1], len(values) - 1), 0, -1):
        suffix = ids[left, -n:]
        row = np.where((suffix < 0).any(1), -1, model.find(suffix))
        found[left[row >= 0]] = values[n][row[row >= 0]]
        left = left[row < 0]
    return found


def masses(model: NgramModel) -> list[np.ndarray]:
    """The mass of each history, computed from the probabilities and back-offs of the model."""
    unigrams = 10.0 ** model.orders[0].log10_prob.astype(float)
    found = [np.array([unigrams.sum() - unigrams[model.ids[BEGIN]]])]
    for n in range(2, model.order + 1):
        histories = model.orders[n - 2]
        listed, lower = _listed(model, n, log10_prob(model, model.orders[n - 1].ids[:, 1:]))
        others = of_longest_suffix(model, histories.ids[:, 1:], found) - lower
        found.append(listed + 10.0 ** histories.log10_backoff.astype(float) * np.maximum(others, 0.0))
    return found


def left_over(model: NgramModel, n: int, log10_lower: np.ndarray, masses: Sequence[np.ndarray],
              rounding: float = 1e-12) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """For each history h, a row of order n - 1: the mass that the words listed after h leave to other words.

    The first array subtracts their p(w | h), the second their p(w | h'), whose logarithms are `log10_lower` (R,), from
    the mass. A result below `rounding` times the mass may be a rounding error; it is raised to that value.
    """
    own, lower = _listed(model, n, log10_lower)
    mass, mass_lower = masses[n - 1], of_longest_suffix(model, model.orders[n - 2].ids[:, 1:], masses)
    return np.maximum(mass - own, rounding * mass), np.maximum(mass_lower - lower, rounding * mass_lower)


def _listed(model: NgramModel, n: int, log10_lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each history h, a row of order n - 1: the sums of p(w | h) and of p(w | h') over the words listed after h."""
    history, rows = model.keys[n - 1] // len(model.words), len(model.orders[n - 2].ids)
    own = np.bincount(history, 10.0 ** model.orders[n - 1].log10_prob.astype(float), rows)
    return own, np.bincount(history, 10.0**log10_lower, rows)


def set_backoffs(model: NgramModel, masses: Sequence[np.ndarray], rounding: float = 1e-12) -> NgramModel:
    """Sets the back-offs of `model`, in place, so that the words after each history sum to its mass. Returns `model`.

    `rounding`: see `left_over`; the default is for masses computed from the numbers of the model itself.
    """
    model.orders[-1].log10_backoff[:] = 0.0
    for n in range(2, model.order + 1):  # in this order, since a back-off depends on those of shorter histories
        log10_lower = log10_prob(model, model.orders[n - 1].ids[:, 1:])
        own, lower = left_over(model, n, log10_lower, masses, rounding)
        log10_backoff = np.log10(own / lower)
        model.orders[n - 2].log10_backoff[:] = np.where(np.abs(log10_backoff) < _NO_BACKOFF, 0.0, log10_backoff)
    return model


@dataclass(frozen=True)
class Text:
    """The predictions of a text: each word and each end of a sentence, with the words before it."""

    ids: np.ndarray  # (T, n) int32, the predicted word last; -1 before the sentence, and for words without an id
    unknown: np.ndarray  # (T,) bool: the predicted word is outside the vocabulary
    sentences: int

    @classmethod
    def of(cls, texts: Iterable[str], model: NgramModel, order: int | None = None) -> "Text":
        """`texts` in the ids of `model`, unknown words as `<unk>`. Raises InputError if they have no words."""
        order = order or model.order
        unknown, start = model.ids.get(UNKNOWN, -1), [-1] * (order - 1)
        if order > 1:
            start[-1] = model.ids[BEGIN]
        ids, known, predicted, sentences = [], [], [], 0
        for text in texts:
            if words := model.words_in(text):
                found = [model.ids.get(word) for word in words]
                ids += [*start, *(unknown if i is None else i for i in found), model.ids[END]]
                known += [*(True for _ in start), *(i is not None for i in found), True]
                predicted += [False] * len(start) + [True] * (len(words) + 1)
                sentences += 1
        if not sentences:
            raise InputError(NO_TEXT)
        windows = np.lib.stride_tricks.sliding_window_view(np.array(ids, np.int32), order)
        places = np.flatnonzero(predicted)
        return cls(windows[places - (order - 1)], ~np.array(known)[places], sentences)

    def score(self, log10_probs: np.ndarray) -> Score:
        """The score of the text, given the log10 probabilities (T,) of its predictions."""
        values = np.maximum(log10_probs, IMPOSSIBLE)
        words, unknown = len(values) - self.sentences, int(self.unknown.sum())
        return Score(self.sentences, words, unknown, float(values.sum()), float(values[self.unknown].sum()))
