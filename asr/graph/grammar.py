"""G: the grammar, an acceptor of word sequences with costs.

A word arc has the word's label on both sides. A back-off arc of an n-gram has `#0`, the label after the last word, as
input and epsilon as output. Every grammar is deterministic, no arc enters its start state, and the final cost of a
state includes ending after back-offs.
"""

import math
from collections.abc import Mapping

import numpy as np

from asr.graph.automaton import Automaton
from asr.lm.model import LN10, NgramModel
from asr.words import BEGIN, END

ROOT = 0  # the empty history


def word_grammar(num_words: int) -> Automaton:
    """The grammar of exactly one of the words 1..num_words, all equally likely."""
    words = np.arange(1, num_words + 1)
    ends = np.zeros(num_words, int)
    final = np.array([np.inf, 0.0])
    return Automaton.from_arcs(0, final, ends, words, words, ends + math.log(num_words), ends + 1)


def ngram_grammar(model: NgramModel, labels: Mapping[str, int]) -> Automaton:
    """The grammar of a back-off n-gram model. `labels` numbers the words 1..W; n-grams with other words are left out.

    A path may back off even if the n-gram is listed: epsilon approximates failure, as in Kaldi and EESEN (Allauzen,
    Mohri & Roark 2003, "Generalized algorithms for constructing statistical language models"). A history that no
    n-gram continues has no state: its arcs lead to its back-off history and include the back-off cost.
    """
    begin, end = len(labels) + 1, len(labels) + 2
    known = {**labels, BEGIN: begin, END: end}
    label_of = np.array([known.get(word, 0) for word in model.words], np.int32)
    table = _Table(end + 1, 1 + sum(len(ngrams.ids) for ngrams in model.orders))
    for ids, log10_prob, log10_backoff in model.orders:
        words = label_of[ids]  # (R, n)
        kept = _well_formed(words, begin, end)
        table.add(words if kept.all() else words[kept], log10_prob[kept], log10_backoff[kept])
    return _grammar(table, begin, end)


def _well_formed(words: np.ndarray, begin: int, end: int) -> np.ndarray:
    """(R,) bool: n-grams (R, n) of known words only, with `<s>` only in first place and `</s>` only in last."""
    inside = words[:, 1:] == begin
    return (words > 0).all(1) & ~inside.any(1) & ~(words[:, :-1] == end).any(1)


class _Table:
    """All n-grams as columns. Row 0 is the empty history; row i > 0 is an n-gram and a possible history.

    Rows are sorted by `key = history * base + word` across all orders, so an n-gram is found by binary search.
    """

    def __init__(self, base: int, capacity: int):
        self.base = base
        self.first = [0, 1]  # first row of each order, from order 0 (ROOT); then the number of rows
        self.key = np.zeros(capacity, np.int64)
        self.shorter = np.zeros(capacity, np.int32)  # row of the longest listed suffix
        self.log10_prob, self.log10_backoff = np.zeros(capacity, np.float32), np.zeros(capacity, np.float32)

    def add(self, words: np.ndarray, log10_prob: np.ndarray, log10_backoff: np.ndarray) -> None:
        """Add the n-grams `words` (R, n) of the next order."""
        history = np.full(len(words), ROOT)
        for column in words.T[:-1]:
            history = self._find(history, column)
        key = history * self.base + words[:, -1]
        order = np.argsort(key)
        key = key[order]
        rows = slice(self.first[-1], self.first[-1] + len(key))
        if words.shape[1] > 1:
            self.shorter[rows] = self._suffix(self.shorter[history[order]], words[order, -1])
        self.key[rows], self.log10_prob[rows], self.log10_backoff[rows] = key, log10_prob[order], log10_backoff[order]
        self.first.append(rows.stop)

    def _find(self, history: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Row of each (history, word); -1 if it is not listed."""
        keys = self.key[1 : self.first[-1]]
        wanted = np.multiply(history, self.base, dtype=np.int64) + word
        row = np.searchsorted(keys, wanted)
        np.minimum(row, len(keys) - 1, out=row)
        unlisted = keys[row] != wanted
        row += 1
        row[unlisted] = -1
        return row

    def _suffix(self, history: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Row of each (history, word), or of its longest listed suffix."""
        row = self._find(history, word)
        while (missing := (row < 0) & (history != ROOT)).any():
            history[missing] = self.shorter[history[missing]]
            row[missing] = self._find(history[missing], word[missing])
        return np.maximum(row, ROOT)

    def orders(self) -> list[slice]:
        """Rows of each order from 1 up."""
        return [slice(a, b) for a, b in zip(self.first[1:], self.first[2:], strict=False)]

    def nats(self, log10: np.ndarray) -> np.ndarray:
        """Costs (float64) of base-10 logarithms."""
        return -LN10 * log10.astype(float)


def _grammar(table: _Table, begin: int, end: int) -> Automaton:
    histories = max(table.first[2], table.first[-2])  # rows that can be histories: all except the highest order
    is_state, final, state_of, backoff = _states(table, histories, begin, end)
    number = (np.cumsum(is_state) - 1).astype(np.int32)
    back = np.flatnonzero(is_state)[1:]
    columns: list[tuple[np.ndarray, ...]] = []
    for rows in table.orders():
        history, word = (part.astype(np.int32) for part in np.divmod(table.key[rows], table.base))
        is_word = word < begin
        reached = rows if rows.stop <= histories else table.shorter[rows]  # history after the word
        cost = table.nats(table.log10_prob[rows]) + backoff[reached]
        arcs = (number[history], word, cost.astype(np.float32), number[state_of[reached]])
        columns.append(tuple(column[is_word] for column in arcs))
        del history, word, cost, arcs
    shorter = table.shorter[back]
    cost = table.nats(table.log10_backoff[back]) + backoff[shorter]
    label = np.full(len(back), begin, np.int32)
    columns.append((number[back], label, cost.astype(np.float32), number[state_of[shorter]]))
    start = int(number[_row_of(table, begin)])
    del table
    source, label, cost, target = (np.concatenate(c) for c in zip(*columns, strict=True))
    del columns
    return Automaton.from_arcs(start, final[is_state], source, label, np.where(label == begin, 0, label), cost, target)


def _states(table: _Table, histories: int, begin: int,
            end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Per row that can be a history: whether it is a state, the cost of ending the sentence there, the row of the state
    that stands for it, and the back-off cost to that state."""
    is_state = np.zeros(histories, bool)
    is_state[[ROOT, _row_of(table, begin)]] = True
    final = np.full(histories, np.inf)
    for rows in table.orders():
        history, word = np.divmod(table.key[rows], table.base)
        is_state[history[word != begin]] = True
        ends = word == end
        final[history[ends]] = table.nats(table.log10_prob[rows][ends])
    state_of, total = np.zeros(histories, np.int32), np.zeros(histories)
    for rows in [order for order in table.orders() if order.stop <= histories]:  # shorter histories first
        shorter, backoff = table.shorter[rows], table.nats(table.log10_backoff[rows])
        final[rows] = np.minimum(final[rows], backoff + final[shorter])
        stays = is_state[rows]
        state_of[rows] = np.where(stays, np.arange(rows.start, rows.stop), state_of[shorter])
        total[rows] = np.where(stays, 0.0, backoff + total[shorter])
    return is_state, final, state_of, total


def _row_of(table: _Table, word: int) -> int:
    return 1 + int(np.flatnonzero(table.key[1 : table.first[2]] == word)[0])
