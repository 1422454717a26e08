"""G: what may be said, as an acceptor of words with costs.

A grammar's arcs carry word labels on both sides; an n-gram's back-off arcs carry `#0`, the label after the last word,
on the input side and epsilon on the output side. Every grammar is deterministic, its start state is entered by no
arc, and a state's final cost already counts ending through back-offs.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from asr.graph.automaton import Automaton
from asr.lm.model import BEGIN, END, NgramModel

LN10 = math.log(10.0)
ROOT = 0  # the empty history


def word_grammar(num_words: int) -> Automaton:
    """Exactly one of the words 1..num_words, each equally likely."""
    words = np.arange(1, num_words + 1)
    ends = np.zeros(num_words, int)
    final = np.array([np.inf, 0.0])
    return Automaton.from_arcs(0, final, ends, words, words, ends + math.log(num_words), ends + 1)


def ngram_grammar(model: NgramModel, labels: Mapping[str, int]) -> Automaton:
    """The back-off n-gram `model` over the words that `labels` numbers 1..W; n-grams of other words are left out.

    A back-off arc may be taken even where the n-gram is listed: "failure" is approximated by epsilon, as in Kaldi and
    EESEN (Allauzen, Mohri & Roark 2003, "Generalized algorithms for constructing statistical language models"). A
    history that no n-gram continues gets no state; arcs go straight to the one it backs off to, its cost added.
    """
    begin, end = len(labels) + 1, len(labels) + 2
    known = {**labels, BEGIN: begin, END: end}
    label_of = np.array([known.get(word, 0) for word in model.words])
    table = _Table(end + 1)
    for ids, log10_prob, log10_backoff in model.orders:
        kept = _spoken(label_of[ids], begin, end)
        table.add(label_of[ids[kept]], *(-LN10 * log10[kept].astype(float) for log10 in (log10_prob, log10_backoff)))
    return _grammar(table, begin, end)


def _spoken(words: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Which n-grams (R, n) hold known words alone, `<s>` nowhere but first and `</s>` nowhere but last."""
    inside = words[:, 1:] == begin
    return (words > 0).all(1) & ~inside.any(1) & ~(words[:, :-1] == end).any(1)


class _Table:
    """All n-grams as columns. Row i > 0 is an n-gram and so a possible history; row 0 is the empty one.

    Rows are ordered by (history, word), which across orders is the order of `history * base + word`: an n-gram is
    found by binary search.
    """

    def __init__(self, base: int):
        self.base = base
        self.first = [0]  # the first row of each order, ROOT being order 0
        self.history, self.word, self.shorter = (np.zeros(1, np.int64) for _ in range(3))
        self.cost, self.backoff = np.zeros(1), np.zeros(1)

    def add(self, words: np.ndarray, cost: np.ndarray, backoff: np.ndarray) -> None:
        """The n-grams `words` (R, n) of the next order."""
        history = np.full(len(words), ROOT)
        for column in words.T[:-1]:
            history = self._find(history, column)
        order = np.argsort(history * self.base + words[:, -1])
        history, word = history[order], words[order, -1]
        shorter = np.full(len(words), ROOT)
        if words.shape[1] > 1:
            shorter = self._suffix(self.shorter[history], word)
        self.first.append(len(self.word))
        columns = {"history": history, "word": word, "shorter": shorter, "cost": cost[order], "backoff": backoff[order]}
        for name, column in columns.items():
            setattr(self, name, np.concatenate([getattr(self, name), column]))

    def _find(self, history: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Row of each (history, word), -1 where it is not listed."""
        keys = self.history[1:] * self.base + self.word[1:]
        wanted = history * self.base + word
        row = np.searchsorted(keys, wanted)
        listed = (history >= 0) & (row < len(keys)) & (keys[np.minimum(row, len(keys) - 1)] == wanted)
        return np.where(listed, row + 1, -1)

    def _suffix(self, history: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Row of (history, word), or of the longest listed suffix of it."""
        row = self._find(history, word)
        while (missing := (row < 0) & (history != ROOT)).any():
            history = np.where(missing, self.shorter[history], history)
            row[missing] = self._find(history[missing], word[missing])
        return np.maximum(row, ROOT)

    def orders(self) -> Sequence[slice]:
        """Rows of each order from 1 up."""
        return [slice(a, b) for a, b in zip(self.first[1:], [*self.first[2:], len(self.word)], strict=True)]


def _grammar(table: _Table, begin: int, end: int) -> Automaton:
    rows = np.arange(1, len(table.word))
    word = table.word[1:]
    start = 1 + int(np.flatnonzero(word == begin)[0])
    is_end, is_word = word == end, word < begin

    is_state = np.zeros(len(table.word), bool)
    is_state[[ROOT, start]] = True
    is_state[table.history[1:][is_end | is_word]] = True

    # Shorter histories first: where each history ends up, at what cost, and the cost of ending the sentence there.
    final = np.full(len(table.word), np.inf)
    final[table.history[1:][is_end]] = table.cost[1:][is_end]
    goal, fee = np.zeros(len(table.word), np.int64), np.zeros(len(table.word))
    for order in table.orders():
        shorter = table.shorter[order]
        final[order] = np.minimum(final[order], table.backoff[order] + final[shorter])
        stays = is_state[order]
        goal[order] = np.where(stays, np.arange(order.start, order.stop), goal[shorter])
        fee[order] = np.where(stays, 0.0, table.backoff[order] + fee[shorter])

    arcs = rows[is_word]
    back = np.flatnonzero(is_state)[1:]
    number = np.cumsum(is_state) - 1
    label = np.concatenate([table.word[arcs], np.full(len(back), begin)])
    return Automaton.from_arcs(
        start=int(number[start]),
        final=final[is_state],
        source=number[np.concatenate([table.history[arcs], back])],
        ilabel=label,
        olabel=np.where(label == begin, 0, label),
        cost=np.concatenate([table.cost[arcs] + fee[arcs], table.backoff[back] + fee[table.shorter[back]]]),
        target=number[np.concatenate([goal[arcs], goal[table.shorter[back]]])],
    )
