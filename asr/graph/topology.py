"""H: the exact CTC topology, from the net's outputs to tokens.

State k means that the last output was k; state 0 is the blank. Repeats of an output are one token; the same token
twice needs a blank in between:

    any state --blank:eps--> 0      any state --k:k--> k, except from k itself: k --k:eps--> k

This is the rule of Graves et al. 2006, also drawn by Hannun 2017 and k2. H has V^2 arcs for V outputs.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from asr.graph.arrays import Block
from asr.graph.automaton import Automaton
from asr.graph.ranges import blocks, expand_ranges
from asr.tokens import Tokens

_BLOCK = 1 << 16  # about this many arcs of HLG per block


class Expansion(Protocol):
    """Another topology than CTC's: it replaces the tokens of LG by the outputs that the net has for them."""

    @property
    def outputs(self) -> Tokens: ...
    @property
    def digest(self) -> str: ...
    def over(self, graph: Automaton) -> Automaton: ...


def ctc_topology(num_tokens: int) -> Automaton:
    """H for `num_tokens` net outputs, blank included. State k follows output k; all states are final."""
    source, target = (grid.ravel() for grid in np.indices((num_tokens, num_tokens)))
    label = target + Tokens.label(0)
    olabel = np.where((target == 0) | (source == target), 0, label)
    return Automaton.from_arcs(0, np.zeros(num_tokens), source, label, olabel, np.zeros(len(source)), target)


class Topology:
    """H o graph, composed without building H. A state is a pair (state of the graph, last output).

    A pair exists if an arc with that token enters the state, or if epsilon arcs lead to the state from such a pair. The
    pair with the blank exists for every state. Pairs are numbered by state, then by output. `blocks` creates the arcs.
    """

    def __init__(self, graph: Automaton, num_tokens: int):
        self.graph, self.num_tokens = graph, num_tokens
        is_epsilon = graph.ilabel == 0
        last = graph.ilabel - Tokens.label(0)
        last[is_epsilon] = 0  # the blank: a pair that exists anyway
        source, target = graph.source[is_epsilon], graph.target[is_epsilon]
        self.pairs = all_pairs(_entered(graph, last, num_tokens), source, target, num_tokens)
        self.entered = self._pair(graph.target, last)  # (A,) pair that the arc enters; unused for epsilon arcs
        del last
        states = np.arange(graph.num_states + 1, dtype=np.int32)
        self.blanks = self._pair(states, np.zeros_like(states))  # (S + 1,) first pair of each state, then their number
        self.first = graph.first

    @property
    def start(self) -> int:
        return int(self.blanks[self.graph.start])

    @property
    def num_states(self) -> int:
        return len(self.pairs)

    def blocks(self) -> Iterator[Block]:
        """All states with their arcs, in order."""
        for low, high in blocks(self.first, _BLOCK // 4):
            yield self._block(low, high)

    def _pair(self, state: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The numbers of pairs (state, last output)."""
        found = np.empty(len(state), np.int32)
        for low in range(0, len(state), _BLOCK):
            rows = slice(low, low + _BLOCK)
            found[rows] = np.searchsorted(self.pairs, pair_key(state[rows], last[rows], self.num_tokens))
        return found

    def _block(self, low: int, high: int) -> Block:
        """The pairs of the states low to high - 1. The arcs of a pair are the blank, its own token again (not for the
        blank), and the arcs of its state."""
        graph, blank = self.graph, Tokens.label(0)
        rows = slice(self.blanks[low], self.blanks[high])
        state, last = (part.astype(np.int32) for part in np.divmod(self.pairs[rows], self.num_tokens))
        degree = np.diff(self.first[low : high + 1])[state - low] + 2
        source, arc = expand_ranges(self.first[state] - 2, degree)
        begin = np.cumsum(degree) - degree
        arc[begin] = arc[begin + 1] = 0  # filled in below
        ilabel, olabel, cost, target = (c[arc] for c in (graph.ilabel, graph.olabel, graph.cost, self.entered))
        epsilon = np.flatnonzero(ilabel == 0)
        target[epsilon] = self._pair(graph.target[arc[epsilon]], last[source[epsilon]])
        kept = ilabel != last[source] + blank
        own = np.arange(rows.start, rows.stop, dtype=np.int32)
        for slot, label, goal in ((begin, blank, self.blanks[state]), (begin + 1, last + blank, own)):
            ilabel[slot], olabel[slot], cost[slot], target[slot] = label, 0, 0, goal
        kept[begin], kept[begin + 1] = True, last > 0
        columns = (column[kept] for column in (source, ilabel, olabel, cost, target))
        return Block(graph.final[state], *columns)


def apply_topology(graph: Automaton, num_tokens: int) -> Automaton:
    """H o graph in memory, for tests and small graphs; the compiler writes `Topology.blocks` to the file."""
    topology = Topology(graph, num_tokens)
    return Automaton.from_blocks(topology.start, topology.blocks())


def pair_key(state: np.ndarray, last: np.ndarray | np.int32, num_tokens: int,
             out: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """The key (int64) of a pair (state of the graph, last output)."""
    keys = np.multiply(state, num_tokens, dtype=np.int64, out=out)
    keys += last
    return keys


def _entered(graph: Automaton, last: np.ndarray, num_tokens: int) -> np.ndarray:
    """The keys of each state with the blank, and with the token `last` (A,) of each arc that enters it."""
    keys = np.empty(graph.num_arcs + graph.num_states, np.int64)
    pair_key(graph.target, last, num_tokens, out=keys[: graph.num_arcs])
    pair_key(np.arange(graph.num_states, dtype=np.int32), np.int32(0), num_tokens, out=keys[graph.num_arcs :])
    return keys


def all_pairs(entered: np.ndarray, source: np.ndarray, target: np.ndarray, num_tokens: int) -> np.ndarray:
    """The keys of all pairs, ascending: `entered`, and the pairs that epsilon arcs from `source` to `target` reach.

    Sorts `entered` in place.
    """
    pairs = fresh = distinct(entered)
    del entered  # large
    source, target = (part.astype(np.int64) * num_tokens for part in (source, target))
    others = np.zeros(0, np.int64)
    while len(fresh):  # one round per consecutive epsilon arc
        begin, end = np.searchsorted(fresh, source), np.searchsorted(fresh, source + num_tokens)
        which, row = expand_ranges(begin, end - begin)
        reached = distinct(fresh[row] - (source - target)[which])
        fresh = reached[~(_among(reached, pairs) | _among(reached, others))]
        others = distinct(np.concatenate([others, fresh]))
    if len(others):
        pairs = np.concatenate([pairs, others])
        pairs.sort(kind="stable")  # merges the two
    return pairs


def _among(keys: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """(K,) bool: whether each key is in the sorted array `ascending`."""
    if not len(ascending):
        return np.zeros(len(keys), bool)
    return ascending[np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)] == keys


def distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, ascending. Sorts `keys` in place. np.unique is slower on millions of keys."""
    keys.sort()
    is_new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    return keys[is_new]
