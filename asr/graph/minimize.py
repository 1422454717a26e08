"""Minimization of grown trees: states with the same future become one, from the leaves up.

An arc's labels and cost are compared together, as an acceptor's (Kaldi's fstminimizeencoded). The trees hang on the
grammar's states; as long as those count as different, what remains is acyclic and takes one pass (Revuz 1992), in
which a future is a 128-bit hash, computed level by level. Then states of the grammar with the same arcs are equal too.
"""

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.expand import Trees

_SEEDS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)  # for two hashes of 64 bits


def minimize(trees: Trees) -> Automaton:
    """The graph of the trees with equal states merged, each tree's states together: a search walks along them."""
    graph = trees.graph
    future = _futures(graph, trees.levels)
    order = np.lexsort(future.T)  # stable: the first state of a class is its lowest
    is_new = np.append(True, (np.diff(future[order].T) != 0).any(0))
    lowest = np.empty(graph.num_states, np.int64)
    lowest[order] = order[is_new][np.cumsum(is_new) - 1]

    kept = np.flatnonzero(lowest == np.arange(graph.num_states))
    kept = kept[np.argsort(trees.root[kept], kind="stable")]
    number = np.full(graph.num_states, -1, np.int32)
    number[kept] = np.arange(len(kept))
    arc = number[graph.source] >= 0
    number = number[lowest]
    columns = (graph.ilabel[arc], graph.olabel[arc], graph.cost[arc], number[graph.target[arc]])
    return Automaton.from_arcs(int(number[graph.start]), graph.final[kept], number[graph.source[arc]], *columns)


def _futures(graph: Automaton, levels: list[int]) -> np.ndarray:
    """(S, 2) hashes of all that can follow a state."""
    future = np.zeros((graph.num_states, 2), np.uint64)
    future[: levels[0]] = _mix(np.arange(1, levels[0] + 1, dtype=np.uint64)[:, None] * _SEEDS)
    labels = graph.ilabel.astype(np.uint64) << np.uint64(32) | graph.olabel.astype(np.uint64)
    first = graph.first
    for low, high in reversed(list(zip([0, *levels], levels, strict=False))):
        arcs = slice(first[low], first[high])
        arc = _mix(labels[arcs, None] * _SEEDS + _mix(_bits(graph.cost[arcs]) + _SEEDS + future[graph.target[arcs]]))
        total = np.cumsum(np.vstack([np.zeros((1, 2), np.uint64), arc]), axis=0)  # modulo 2^64
        future[low:high] = _mix(
            np.diff(total[first[low : high + 1] - first[low]], axis=0) + _bits(graph.final[low:high])
        )
    return future


def _bits(costs: np.ndarray) -> np.ndarray:
    """(R, 1) integers that are equal where the costs are; -0 is 0."""
    return (costs + np.float32(0)).view(np.uint32).astype(np.uint64)[:, None]


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
