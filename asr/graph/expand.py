"""det(L o G), grown straight from the grammar instead of composed and then determinized.

L's spellings make a prefix code (each followed by its `#k` where needed) and G is deterministic, so determinizing
L o G does no more than gather, at every state of G, the spellings of the words that leave it into a tree. The tree
is grown here level by level over whole columns: the same automaton in a tenth of the time, with no composition to
hold in memory and nothing that could fail to end. As `#k` would only be erased again, a spelling that is a prefix
of another simply gets a last arc of its own.

Weights stand where determinization in the log semiring puts them: an arc costs the log-sum of the words below it
less that of its parent, so that a beam sees a word's cost as early as it is known. A word's label stands on the
first arc below which there is no other word.
"""

from dataclasses import dataclass

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.lexicon_fst import Spellings


@dataclass(frozen=True)
class Trees:
    """A graph whose states 0 .. levels[0] are joints between words and the rest trees that grow from joint to joint,
    a level at a time: level i + 1 begins at state levels[i]. `root` (S,) is the joint that a state grew from."""

    graph: Automaton
    levels: list[int]
    root: np.ndarray


def expand(grammar: Automaton, spellings: Spellings) -> Trees:
    """Tokens to words. Joints are the grammar's states in their order and then, if there is a separator, the ends of
    words. Back-offs are the only epsilons."""
    leaves, final, joints = _leaves(grammar, spellings)
    columns, levels, roots = _grow(leaves, spellings, len(final))
    source, ilabel, olabel, cost, target = (np.concatenate(c) for c in zip(joints, *columns, strict=True))
    final = np.pad(final, (0, levels[-1] - len(final)), constant_values=np.inf)
    graph = Automaton.from_arcs(grammar.start, final, source, ilabel, olabel, cost, target)
    return Trees(graph, levels, np.concatenate([np.arange(levels[0]), *roots]))


def _leaves(grammar: Automaton, spellings: Spellings) -> tuple[list[np.ndarray], np.ndarray, tuple[np.ndarray, ...]]:
    """Leaves (node, spelling, word, cost, target), a row for each way to say each word arc; the final costs so far;
    and the arcs that need no tree: back-offs and separators."""
    is_word = grammar.olabel > 0
    states = np.arange(grammar.num_states)
    end, final = states, grammar.final
    epsilon = np.zeros_like(grammar.olabel)
    back = [c[~is_word] for c in (grammar.source, epsilon, epsilon, grammar.cost, grammar.target)]
    if spellings.separator is not None:
        entered = np.flatnonzero(np.bincount(grammar.target[is_word]))
        end = np.zeros_like(states)
        end[entered] = grammar.num_states + np.arange(len(entered))
        final = np.concatenate([np.where(states == grammar.start, grammar.final, np.inf), grammar.final[entered]])
        left = entered[np.isin(entered, grammar.source)]
        zero = np.zeros_like(left)
        gaps = (end[left], zero + spellings.separator, zero, zero, left)
        back = [np.concatenate(columns) for columns in zip(back, gaps, strict=True)]

    words = spellings.word[spellings.word > 0]
    arc = np.flatnonzero(is_word)
    begin = np.searchsorted(words, grammar.olabel[arc])
    count = np.searchsorted(words, grammar.olabel[arc], side="right") - begin
    arc = np.repeat(arc, count)
    spelling = np.repeat(begin - (np.cumsum(count) - count), count) + np.arange(len(arc))
    leaves = [grammar.source[arc], spelling, grammar.olabel[arc], grammar.cost[arc], end[grammar.target[arc]]]
    if spellings.silence is not None:
        zero = np.zeros_like(states)
        silences = [states, zero + len(spellings.word) - 1, zero, zero, states]
        leaves = [np.concatenate(columns) for columns in zip(leaves, silences, strict=True)]
    return leaves, final, tuple(back)


def _grow(leaves: list[np.ndarray], spellings: Spellings,
          num_states: int) -> tuple[list[tuple[np.ndarray, ...]], list[int], list[np.ndarray]]:  # fmt: skip
    """The arcs (source, ilabel, olabel, cost, target) of the trees; their levels; the root of each state of a level."""
    node, spelling, word, cost, target = leaves
    root = node
    node, cost = node.astype(np.int64), cost.astype(np.float64)
    above, told = np.zeros(len(node)), np.zeros(len(node), bool)  # cost spent, and word told, on the way to the node
    first, base = spellings.first, int(spellings.labels.max()) + 1
    arcs: list[tuple[np.ndarray, ...]] = []
    roots: list[np.ndarray] = []
    levels = [num_states]
    while len(node):
        depth = len(levels) - 1
        label = spellings.labels[first[spelling] + depth]
        last = spellings.length[spelling] == depth + 1
        arcs.append(tuple(c[last] for c in (node, label, np.where(told, 0, word), cost - above, target)))

        key = node * base + label
        inner = np.flatnonzero(~last)
        inner = inner[np.argsort(key[inner], kind="stable")]
        root, node, label, spelling, word, cost, target, above, told, key = (
            c[inner] for c in (root, node, label, spelling, word, cost, target, above, told, key)
        )
        head = np.flatnonzero(np.diff(key, prepend=-1))
        size = np.diff(head, append=len(key))
        below = -np.logaddexp.reduceat(-cost, head)
        lowest = np.minimum.reduceat(word, head)
        alone = lowest == np.maximum.reduceat(word, head)
        child = levels[-1] + np.arange(len(head))
        arcs.append((node[head], label[head], np.where(told[head] | ~alone, 0, lowest), below - above[head], child))

        roots.append(root[head])
        levels.append(levels[-1] + len(head))
        node, above, told = (np.repeat(c, size) for c in (child, below, alone))
    return arcs, levels, roots
