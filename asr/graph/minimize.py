"""Minimization of the spelling trees while they are built: states with the same future are merged.

The future of a state is the set of paths that leave it. Labels and cost of an arc are compared together, as if they
were one label (Kaldi's fstminimizeencoded). All joints count as different, so the trees are acyclic and one pass from
the leaves up suffices (Revuz 1992). A future is represented by a 128-bit hash, computed level by level. Only states
with a new future are kept, so the trees are never in memory as a whole. Joints with equal arcs are merged, too.
"""

from collections.abc import Iterable

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.spelling_trees import Forest, Trees

_BLOCK = 1 << 16  # futures inserted together when the table grows
_SEEDS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)  # of two 64-bit hashes


def minimize(forest: Forest, grown: Iterable[Trees] | None = None) -> Automaton:
    """The graph of the trees with equal states merged. The states of a tree stay together, for memory locality.

    `grown`: the forest's trees, if the caller iterates over them itself, for instance to show progress.
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
    """Numbers futures in order of first appearance: a hash table with linear probing over numpy columns."""

    def __init__(self) -> None:
        self.count = 0
        self.futures = np.empty((0, 2), np.uint64)  # by number; allocated with spare room
        self.slots = np.empty(0, np.int32)  # numbers, -1 if free; the size is a power of two, at most half is used

    def add(self, futures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (R,) of the futures (R, 2), and which rows are the first of a new future."""
        self._make_room(len(futures))
        ids = np.arange(self.count, self.count + len(futures), dtype=np.int32)
        self.futures[ids[0] : ids[0] + len(ids)] = futures
        holder, slot = self._place(ids)
        is_new = holder == ids
        fresh = holder - self.count >= 0  # held by a row of this call, which is renumbered without gaps
        rank = self.count + np.cumsum(is_new, dtype=np.int32) - 1
        holder[fresh] = rank[holder[fresh] - self.count]
        self.slots[slot[is_new]] = rank[is_new]
        self.futures[self.count : self.count + int(is_new.sum())] = futures[is_new]
        self.count += int(is_new.sum())
        return holder, is_new

    def _place(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each row `ids` of `futures`: the row that holds the slot of this future, and the slot. A future without a
        slot gets a free one, held by the first of equal rows."""
        mask = np.uint64(len(self.slots) - 1)
        slot = (self.futures[ids, 0] & mask).astype(np.int64)
        holder = np.empty_like(ids)
        todo = np.arange(len(ids))
        while len(todo):
            free = todo[self.slots[slot[todo]] < 0][::-1]  # reversed: if several write to one slot, the first row wins
            self.slots[slot[free]] = ids[free]
            holder[todo] = self.slots[slot[todo]]
            todo = todo[(self.futures[holder[todo]] != self.futures[ids[todo]]).any(1)]
            slot[todo] = (slot[todo] + 1) & int(mask)
        return holder, slot

    def _make_room(self, size: int) -> None:
        needed = self.count + size
        if needed > len(self.futures):
            self.futures.resize((needed + needed // 2, 2), refcheck=False)  # in place if the allocator can
        if 2 * needed > len(self.slots):
            self.slots = np.full(1 << (2 * needed - 1).bit_length(), -1, np.int32)
            for low in range(0, self.count, _BLOCK):
                self._place(np.arange(low, min(low + _BLOCK, self.count), dtype=np.int32))


def _futures(trees: Trees) -> np.ndarray:
    """(S, 2) hashes of the future of each state. A target that is a joint is hashed by its number."""
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
    """(R, 1) bit patterns of the costs; -0 becomes 0."""
    return (costs + np.float32(0)).view(np.uint32).astype(np.uint64)[:, None]


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
