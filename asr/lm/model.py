"""An n-gram back-off model as plain arrays. Estimation and ARPA files give it; graphs are built from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from asr.pieces import BEGIN, are_pieces, fewest, spread
from asr.words import MARKS

MAX_ORDER = 8  # words gain little beyond 5, pronunciation models more
LN10 = math.log(10.0)  # times a base-10 logarithm, as ARPA files hold, gives a natural one


class Ngrams(NamedTuple):
    """All n-grams of one order, rows in ascending order of their ids."""

    ids: np.ndarray  # (R, n) int32 word ids, the predicted word last
    log10_prob: np.ndarray  # (R,) float32, at most 0
    log10_backoff: np.ndarray  # (R,) float32; 0 if no n-gram continues this one, so all 0 in the highest order


@dataclass(frozen=True)
class Vocabulary:
    """The words of a language model, each with its place as id."""

    words: list[str]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> id."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def of_pieces(self) -> bool:
        """Whether the words are pieces of words (asr.pieces)."""
        return are_pieces(self.words)

    def words_in(self, text: str) -> list[str]:
        """The words of a text as the model has them. If it is a model of pieces and the text is not in pieces: the
        characters for a model of characters, otherwise the fewest pieces of each word, or its characters if the model
        cannot spell it."""
        if not self.of_pieces or BEGIN in text:
            return text.split()
        return [piece for word in text.split() for piece in self._pieces(word)]

    def _pieces(self, word: str) -> Sequence[str]:
        found = fewest(word, self._vocabulary, 1) if self._has_long else []
        return found[0] if found else spread(word).split()

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def _has_long(self) -> bool:
        return any(len(word.removeprefix(BEGIN)) > 1 for word in self.words if word not in MARKS)


@dataclass(frozen=True)
class NgramModel(Vocabulary):
    """`words[i]` is the word of id i and of the i-th unigram. `orders[n - 1]` has the n-grams of order n.

    The history of each n-gram (all words but the last) is listed too. Its suffix (all words but the first) may be
    missing, since some tools prune it; the longest listed suffix is used instead.
    """

    orders: list[Ngrams]

    @property
    def order(self) -> int:
        return len(self.orders)

    @cached_property
    def keys(self) -> list[np.ndarray]:
        """Per order, (R,) int64, ascending: row of the history in the order below x number of words + last word."""
        keys: list[np.ndarray] = []
        for ngrams in self.orders:
            history = find(keys, ngrams.ids[:, :-1], len(self.words))
            keys.append(history * len(self.words) + ngrams.ids[:, -1])
        return keys

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Rows (R,) of the n-grams `ids` (R, n) in `orders[n - 1]`; -1 for an n-gram that is not listed."""
        return find(self.keys, ids, len(self.words))


def without_empty_orders(model: NgramModel) -> NgramModel:
    """`model` without empty highest orders; one is kept if the order below it has back-offs."""
    orders = model.orders
    while len(orders) > 1 and not len(orders[-1].ids) and not orders[-2].log10_backoff.any():
        orders = orders[:-1]
    return NgramModel(model.words, orders)


def find(keys: Sequence[np.ndarray], ids: np.ndarray, num_words: int) -> np.ndarray:
    """As `NgramModel.find`, given the `keys` of all orders up to n. For n = 0 all rows are 0."""
    row = np.zeros(len(ids), np.int64)
    for column, listed in zip(ids.T, keys, strict=False):
        row = find_sorted(listed, np.where(row < 0, -1, row * num_words + column))
    return row


def find_sorted(listed: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Indices of `wanted` (R,) in the ascending array `listed`; -1 for absent values."""
    if not len(listed):
        return np.full(len(wanted), -1)
    position = np.searchsorted(listed, wanted)
    position[position == len(listed)] = 0
    return np.where(listed[position] == wanted, position, -1)
