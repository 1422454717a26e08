"""Linear interpolation of back-off models, written as one back-off model.

    p(w | h) = sum over the models i of weight i x p_i(w | h)

for the n-grams that any model lists. Back-offs make the words after a history sum to their sum in the exact mixture:
one, unless a model was filtered. So listed n-grams have the probability of the exact mixture, and other n-grams nearly
(as in SRILM's `ngram -mix-lm`). In a model that does not have a word, the word has probability 0, and is `<unk>` in
histories.

The weights that predict a text best are found by expectation maximisation (Jelinek & Mercer 1980, "Interpolated
estimation of Markov source parameters from sparse data"): weight i becomes the mean, over the words of the text, of
weight i x p_i / sum over j of weight j x p_j. The likelihood has a single maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import InputError
from asr.lm.backoff import Text, log10_prob, masses, of_longest_suffix, set_backoffs
from asr.lm.model import NgramModel, Ngrams
from asr.lm.score import Score
from asr.words import MARKS, UNKNOWN

_TOLERANCE = 1e-6  # largest change of a weight by the last step
_MOST_STEPS = 1000
_ROUNDING = 1e-7  # precision of sums of float32 probabilities


@dataclass(frozen=True)
class Fit:
    """Weights found, or given, for a mixture, and its score."""

    weights: list[float]  # one per model
    steps: int  # of expectation maximisation
    score: Score  # of the exact mixture


def mix(models: Sequence[NgramModel], weights: Sequence[float]) -> NgramModel:
    """The mixture, over the words of all `models`. Raises InputError as `check_weights` does."""
    weights = check_weights(weights, len(models))
    words = union_of_words(models)
    listed = _union(models, words)
    probs = [np.zeros(len(ids)) for ids in listed]
    histories = [np.zeros((1, 0), np.int32), *listed[:-1]]
    mass = [np.zeros(len(ids)) for ids in histories]
    for model, weight in zip(models, weights, strict=True):
        translation = Translation(words, model)
        for ids, prob in zip(listed, probs, strict=True):
            prob += weight * 10.0 ** log10_prob(model, translation(ids))
        of_model = masses(model)
        for ids, total in zip(histories, mass, strict=True):
            total += weight * of_longest_suffix(model, translation.as_history[ids], of_model)
    with np.errstate(divide="ignore"):
        logs = [np.log10(prob).clip(-99.0, 0.0).astype(np.float32) for prob in probs]
    orders = [Ngrams(ids, log, np.zeros_like(log)) for ids, log in zip(listed, logs, strict=True)]
    return set_backoffs(NgramModel(words, orders), mass, _ROUNDING)


def fit(models: Sequence[NgramModel], texts: Sequence[str], weights: Sequence[float] | None = None) -> Fit:
    """Finds the weights by which the mixture predicts `texts` best, or scores the mixture with the given `weights`.

    Words that no model has do not affect the weights. Raises InputError for texts without words.
    """
    words = union_of_words(models)
    order = max(model.order for model in models)
    text = Text.of(texts, NgramModel(words, []), order)
    probs = np.stack([10.0 ** log10_prob(model, Translation(words, model)(text.ids)) for model in models], axis=1)
    found, steps = _maximise(probs[~text.unknown & (probs > 0).any(1)]) if weights is None else (list(weights), 0)
    with np.errstate(divide="ignore"):
        return Fit(found, steps, text.score(np.log10(probs @ check_weights(found, len(models)))))


def check_weights(weights: Sequence[float], count: int) -> list[float]:
    """The weights, scaled to sum to exactly 1. Raises InputError unless they are `count` numbers >= 0 of sum 1."""
    if len(weights) != count or not (min(weights) >= 0 and abs(sum(weights) - 1) <= 1e-3):  # false for nan
        raise InputError(f"lm.weights is {list(weights)}; expected {count} numbers from 0 to 1 that sum to 1")
    return [weight / sum(weights) for weight in weights]


def union_of_words(models: Sequence[NgramModel]) -> list[str]:
    """The words of all models: marks first, then code point order. Raises InputError if some are of pieces only."""
    if len({model.of_pieces for model in models}) > 1:
        raise InputError("models of words and of characters cannot be mixed; train all with the same lm.unit")
    words = set().union(*(model.words for model in models))
    return [*(mark for mark in MARKS if mark in words), *sorted(words.difference(MARKS))]


class Translation:
    """Maps n-grams in the ids of `words` to n-grams in the ids of `model`; words that it does not have become -1."""

    def __init__(self, words: list[str], model: NgramModel):
        known = np.array([model.ids.get(word, -1) for word in words], np.int32)
        self.as_last = known
        self.as_history = np.where(known < 0, np.int32(model.ids.get(UNKNOWN, -1)), known)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        translated = self.as_history[ids]
        translated[:, -1] = self.as_last[ids[:, -1]]
        translated[ids < 0] = -1
        return translated


def _union(models: Sequence[NgramModel], words: list[str]) -> list[np.ndarray]:
    """Per order, the n-grams (R, n) that any model lists, in the ids of `words`, sorted."""
    number = {word: i for i, word in enumerate(words)}
    new_ids = [np.array([number[word] for word in model.words], np.int64) for model in models]
    rows = [np.zeros(1, np.int64) for _ in models]  # per model: rows in the union of its n-grams, at first of ()
    union = [np.zeros((1, 0), np.int32)]
    for n in range(max(model.order for model in models)):
        keys = [
            row[model.keys[n] // len(model.words)] * len(words) + new[model.orders[n].ids[:, -1]]
            if n < model.order
            else np.zeros(0, np.int64)
            for model, row, new in zip(models, rows, new_ids, strict=True)
        ]
        listed = np.unique(np.concatenate(keys))
        rows = [np.searchsorted(listed, key) for key in keys]
        history, word = np.divmod(listed, len(words))
        union.append(np.concatenate([union[-1][history], word[:, None].astype(np.int32)], axis=1))
    return union[1:]


def _maximise(probs: np.ndarray) -> tuple[list[float], int]:
    """Expectation maximisation for the probabilities (T, models): the weights and the number of steps."""
    weights = np.full(probs.shape[1], 1 / probs.shape[1])
    steps, change = 0, np.inf
    while change > _TOLERANCE and steps < _MOST_STEPS:
        share = probs * weights
        share /= share.sum(1, keepdims=True)
        before, weights = weights, share.mean(0)
        steps, change = steps + 1, np.abs(weights - before).max()
    return weights.tolist(), steps
