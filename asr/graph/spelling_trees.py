"""det(L o G), built directly from the grammar instead of by composition and determinization.

The spellings of L form a prefix code (with a final `#k` where needed) and G is deterministic. Determinizing L o G
therefore only merges, at each state of G, the spellings of the words that leave it into a tree. This module builds
these trees level by level with numpy, for some thousand states of G at a time. The result is the same automaton in a
tenth of the time, without a composition in memory, and the construction always terminates. The symbols `#k` are never
created, as they would be erased again: a spelling that is a prefix of another one ends in a separate arc.

Costs are pushed as determinization in the log semiring pushes them: the arc to a node costs the negative log-sum of
the words below the node minus that of its parent, so the beam sees the cost of a word as early as possible. A word's
label is on the first arc below which there is no other word.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.lexicon_fst import Spellings
from asr.graph.ranges import blocks, expand_ranges

BLOCK = 1 << 15  # arcs of G whose trees are built together


@dataclass(frozen=True)
class Trees:
    """The trees of some joints, with S states: first the joints, then the inner states, level by level.

    Level i + 1 begins at state levels[i]. A target >= 0 is a state of these trees; a target < 0 is `~joint`, where
    `joint` counts the joints of the whole forest.
    """

    levels: list[int]
    root: np.ndarray  # (S,) the joint at the root of each state's tree
    final: np.ndarray  # (S,) cost of ending in each state
    source: np.ndarray  # (A,) ascending
    ilabel: np.ndarray
    olabel: np.ndarray
    cost: np.ndarray
    target: np.ndarray


class Forest:
    """All trees of a grammar.

    Trees begin and end at joints. The joints are the grammar's states, in order, followed by the word ends if there is
    a separator. Back-off arcs are the only epsilon arcs.
    """

    def __init__(self, grammar: Automaton, spellings: Spellings):
        self.grammar, self.spellings = grammar, spellings
        self.first = grammar.first
        self.num_labels = int(spellings.labels.max()) + 1
        words = spellings.word[spellings.word > 0]
        count = np.bincount(words, minlength=int(grammar.ilabel.max(initial=0)) + 1).astype(np.int32)
        self.spelled = (np.cumsum(count) - count).astype(np.int32), count  # (W + 1,) each: first spelling, how many
        self.entered = np.zeros(0, np.int32)  # grammar states that a word arc enters, if word ends are joints
        # (states of the grammar,) the joint at which a word that enters the state ends
        self.end = np.arange(grammar.num_states, dtype=np.int32)
        if spellings.separator is not None:
            self.entered = np.flatnonzero(np.bincount(grammar.target[grammar.olabel > 0])).astype(np.int32)
            self.end[self.entered] = grammar.num_states + np.arange(len(self.entered))

    @property
    def num_joints(self) -> int:
        return self.grammar.num_states + len(self.entered)

    def trees(self) -> Iterator[Trees]:
        """The trees of all joints, in order."""
        for low, high in blocks(self.first, BLOCK):
            yield self._grow(low, high)
        for low in range(0, len(self.entered), BLOCK):
            yield self._ends(self.entered[low : low + BLOCK])

    def _ends(self, entered: np.ndarray) -> Trees:
        """Trees of word ends: a separator arc to the grammar's state, unless no arc leaves that state."""
        states = np.arange(len(entered), dtype=np.int32)
        source = states[self.first[entered + 1] > self.first[entered]]
        zero = np.zeros_like(source)
        cost, target = zero.astype(np.float32), ~entered[source]
        columns = (source, zero + self.spellings.separator, zero, cost, target)
        return Trees([len(entered)], states, self.grammar.final[entered], *columns)

    def leaves(self, low: int, high: int) -> list[np.ndarray]:
        """One row per word arc of the states and spelling of its word: columns node, spelling, word, cost, target."""
        grammar, (begin, count) = self.grammar, self.spelled
        arc = self.first[low] + np.flatnonzero(grammar.olabel[self.first[low] : self.first[high]])
        word = grammar.olabel[arc]
        which, spelling = expand_ranges(begin[word], count[word])
        arc, word = arc[which], word[which]
        cost = grammar.cost[arc]
        if self.spellings.cost is not None:
            cost = cost + self.spellings.cost[spelling]
        leaves = [grammar.source[arc] - low, spelling, word, cost, ~self.end[grammar.target[arc]]]
        if self.spellings.silence is not None:
            states = np.arange(high - low)
            silences = [states, states * 0 + len(self.spellings.word) - 1, states * 0, states * 0.0, ~(states + low)]
            leaves = [np.concatenate(columns) for columns in zip(leaves, silences, strict=True)]
        return leaves

    def _grow(self, low: int, high: int) -> Trees:
        """The trees of the grammar's states low to high - 1."""
        grammar, spellings = self.grammar, self.spellings
        node, spelling, word, cost, target = self.leaves(low, high)
        cost = cost.astype(np.float64)
        # On the way from the root to each node: the cost so far, and whether the word label has been output.
        above, labelled = np.zeros(len(node)), np.zeros(len(node), bool)
        own = slice(self.first[low], self.first[high])
        back = grammar.olabel[own] == 0
        none = np.zeros(int(back.sum()), np.int32)
        arcs: list[tuple[np.ndarray, ...]] = [
            (grammar.source[own][back] - low, none, none, grammar.cost[own][back], ~grammar.target[own][back])
        ]
        root, levels = [np.arange(high - low)], [high - low]
        first = spellings.first
        while len(node):
            depth = len(levels) - 1
            label = spellings.labels[first[spelling] + depth]
            last = spellings.length[spelling] == depth + 1
            arcs.append(tuple(c[last] for c in (node, label, np.where(labelled, 0, word), cost - above, target)))

            key = node.astype(np.int64) * self.num_labels + label
            inner = np.flatnonzero(~last)
            inner = inner[np.argsort(key[inner], kind="stable")]
            node, label, spelling, word, cost, target, above, labelled, key = (
                c[inner] for c in (node, label, spelling, word, cost, target, above, labelled, key)
            )
            head = np.flatnonzero(np.diff(key, prepend=-1))
            size = np.diff(head, append=len(key))
            below = -np.logaddexp.reduceat(-cost, head)
            lowest = np.minimum.reduceat(word, head)
            alone = lowest == np.maximum.reduceat(word, head)
            child = levels[-1] + np.arange(len(head))
            olabel = np.where(labelled[head] | ~alone, 0, lowest)
            arcs.append((node[head], label[head], olabel, below - above[head], child))
            root.append(np.concatenate(root)[node[head]] if depth == 0 else root[-1][node[head] - levels[-2]])
            levels.append(levels[-1] + len(head))
            node, above, labelled = (np.repeat(c, size) for c in (child, below, alone))
        own_final = np.where(np.arange(low, high) == grammar.start, grammar.final[low:high], np.inf)
        final = np.full(levels[-1], np.inf, np.float32)
        final[: levels[0]] = own_final if spellings.separator is not None else grammar.final[low:high]
        return Trees(levels, np.concatenate(root), final, *_by_source(arcs))


def _by_source(arcs: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """The arc columns, sorted by source."""
    source, *columns = (np.concatenate(c) for c in zip(*arcs, strict=True))
    order = np.argsort(source, kind="stable")
    kinds = (np.int32, np.int32, np.float32, np.int32)
    return [source[order].astype(np.int32), *(c[order].astype(k) for c, k in zip(columns, kinds, strict=True))]
