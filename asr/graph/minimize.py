"""Minimization of trees as they grow: states with the same future become one.

An arc's labels and cost are compared together, as an acceptor's (Kaldi's fstminimizeencoded). The trees hang on
joints; as long as those count as different, what remains is acyclic and takes one pass from the leaves up (Revuz
1992), in which a future is a 128-bit hash, computed level by level. A future that an earlier tree had is not kept
again, so that the whole of the trees never stands in memory. Joints with the same arcs become one, too.
"""

from collections.abc import Iterable

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.expand import Forest, Trees

_BLOCK = 1 << 16  # futures placed together when the table grows
_SEEDS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)  # for two hashes of 64 bits


def minimize(forest: Forest, grown: Iterable[Trees] | None = None) -> Automaton:
    """The graph of the trees with equal states merged, each tree's states together: a search walks along them.

    `grown` are the forest's trees, for a caller who watches them grow.
    """
    known = _Known()
    number = np.empty(forest.num_joints, np.int32)  # state of each joint
    joints = 0
    parts: list[tuple[np.ndarray, ...]] = []
    for trees in grown or forest.trees():
        by_root = np.argsort(trees.root, kind="stable")
        state = np.empty(len(by_root), np.int32)
        is_new = np.empty(len(by_root), bool)
        state[by_root], is_new[by_root] = known.add(_futures(trees)[by_root])
        number[joints : joints + trees.levels[0]] = state[: trees.levels[0]]
        joints += trees.levels[0]

        arc = np.flatnonzero(is_new[trees.source])
        arc = arc[np.argsort(state[trees.source[arc]], kind="stable")]
        target = trees.target[arc]
        target = np.where(target < 0, target, state[np.maximum(target, 0)])
        final = trees.final[by_root[is_new[by_root]]]
        parts.append((final, state[trees.source[arc]], trees.ilabel[arc], trees.olabel[arc], trees.cost[arc], target))
    del known
    columns = [list(column) for column in zip(*parts, strict=True)]
    del parts
    final, source, ilabel, olabel, cost, target = (np.concatenate(columns.pop(0)) for _ in range(6))
    is_joint = target < 0
    target[is_joint] = number[~target[is_joint]]
    return Automaton(int(number[forest.grammar.start]), final, source, ilabel, olabel, cost, target)


class _Known:
    """Numbers for futures, in order of their first appearance: a hash table with linear probing, over columns."""

    def __init__(self) -> None:
        self.count = 0
        self.futures = np.empty((0, 2), np.uint64)  # of each number; room for more
        self.slots = np.empty(0, np.int32)  # numbers, -1 where free; a power of two of them, at most half in use

    def add(self, futures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each future (R, 2), and which of them are new here."""
        self._make_room(len(futures))
        ids = np.arange(self.count, self.count + len(futures), dtype=np.int32)
        self.futures[ids[0] : ids[0] + len(ids)] = futures
        holder, slot = self._place(ids)
        is_new = holder == ids
        fresh = holder - self.count >= 0  # a row of this call: numbers close ranks
        rank = self.count + np.cumsum(is_new, dtype=np.int32) - 1
        holder[fresh] = rank[holder[fresh] - self.count]
        self.slots[slot[is_new]] = rank[is_new]
        self.futures[self.count : self.count + int(is_new.sum())] = futures[is_new]
        self.count += int(is_new.sum())
        return holder, is_new

    def _place(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each row of `futures`, the row of the same future that holds a slot, and that slot; free ones are taken,
        by the first of equal rows."""
        mask = np.uint64(len(self.slots) - 1)
        slot = (self.futures[ids, 0] & mask).astype(np.int64)
        holder = np.empty_like(ids)
        todo = np.arange(len(ids))
        while len(todo):
            free = todo[self.slots[slot[todo]] < 0][::-1]  # of several that write to a slot the last one stays
            self.slots[slot[free]] = ids[free]
            holder[todo] = self.slots[slot[todo]]
            todo = todo[(self.futures[holder[todo]] != self.futures[ids[todo]]).any(1)]
            slot[todo] = (slot[todo] + 1) & int(mask)
        return holder, slot

    def _make_room(self, size: int) -> None:
        needed = self.count + size
        if needed > len(self.futures):
            self.futures.resize((needed + needed // 2, 2), refcheck=False)  # moves no bytes where the system can
        if 2 * needed > len(self.slots):
            self.slots = np.full(1 << (2 * needed - 1).bit_length(), -1, np.int32)
            for low in range(0, self.count, _BLOCK):
                self._place(np.arange(low, min(low + _BLOCK, self.count), dtype=np.int32))


def _futures(trees: Trees) -> np.ndarray:
    """(S, 2) hashes of all that can follow a state. What follows a joint counts as its number."""
    future = np.empty((len(trees.final), 2), np.uint64)
    labels = trees.ilabel.astype(np.uint64) << np.uint64(32) | trees.olabel.astype(np.uint64)
    first = np.searchsorted(trees.source, np.arange(len(trees.final) + 1))
    for low, high in reversed(list(zip([0, *trees.levels], trees.levels, strict=False))):
        arcs = slice(first[low], first[high])
        target = trees.target[arcs]
        after = future[np.maximum(target, 0)]
        ends = target < 0
        after[ends] = _mix((-target[ends]).astype(np.uint64)[:, None] * _SEEDS)
        arc = _mix(labels[arcs, None] * _SEEDS + _mix(_bits(trees.cost[arcs]) + _SEEDS + after))
        total = np.cumsum(np.vstack([np.zeros((1, 2), np.uint64), arc]), axis=0)  # modulo 2^64
        future[low:high] = _mix(
            np.diff(total[first[low : high + 1] - first[low]], axis=0) + _bits(trees.final[low:high])
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
