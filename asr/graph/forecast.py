"""Forecasting the size of a graph before it is built: states, arcs, memory and seconds, by counting.

Take the spellings of the words that leave a state of G, in sorted order. The prefix that a spelling shares with its
predecessor adds no state to the tree. Where a spelling differs from both neighbours its word is known; the rest, its
tail, depends only on the remaining labels and the target, and minimization merges equal tails. The counts before
minimization are therefore exact. The counts after it miss only merges of states that several words pass through,
which are rare (docs/measured/graphs.md compares forecasts with built graphs).
"""

import time
from dataclasses import dataclass

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.lexicon_fst import Spellings
from asr.graph.memory import resident_mb
from asr.graph.ranges import blocks
from asr.graph.spelling_trees import BLOCK, Forest
from asr.graph.topology import all_pairs, distinct, pair_key
from asr.tokens import Tokens

_TAIL_SAMPLE = 4_000_000  # leaves whose tails are compared; in larger graphs, those of a sample of the targets

# Measured on the graphs of docs/measured/graphs.md. Seconds hold for a machine on which `_sort_s` returns _SORT_S.
_SORT_S = 0.020
_LG_S, _HLG_S = 0.42e-6, 0.16e-6  # seconds per arc of the trees, per arc of HLG
_TREES = {"states": 44, "arcs": 28}  # bytes per state and arc of LG while it is built: columns, table of futures
_LG = {"states": 4, "arcs": 28}  # bytes per state and arc of LG while HLG is written: columns, targets in HLG
_PAIR = 16  # bytes per state of HLG
_BLOCK_MB = 15  # one block of HLG
_LEAF = 450  # bytes per leaf while its tree is built


@dataclass(frozen=True)
class Forecast:
    """`states` and `arcs`: of the graph that is searched. `memory_mb`: peak resident memory of the process from now on,
    including the memory in use now."""

    lg_states: int
    lg_arcs: int
    states: int
    arcs: int
    memory_mb: int
    seconds: float  # CPU time from now on

    def __str__(self) -> str:
        return (f"forecast: {self.states:,} states, {self.arcs:,} arcs, graph.bin {self.file_mb} MB; "
                f"building it takes {self.memory_mb} MB and about {self.seconds:.0f} s")  # fmt: skip

    @property
    def file_mb(self) -> int:
        return -(-16 * (self.states + self.arcs) // 2**20)


def forecast(grammar: Automaton, spellings: Spellings, num_tokens: int, implicit: bool = False) -> Forecast:
    """What `minimize(Forest(grammar, spellings))` and the topology will need, in a tenth of their time."""
    before_mb = resident_mb()
    counts = _Counts(Forest(grammar, spellings), num_tokens)
    lg_states, lg_arcs = counts.lg()
    states, arcs = (lg_states, lg_arcs) if implicit else counts.hlg()
    needed_mb = [_mb(_TREES, lg_states, lg_arcs)]
    if not implicit:
        needed_mb.append(_mb(_LG, lg_states, lg_arcs) + (_PAIR * states >> 20))
    memory_mb = before_mb + _BLOCK_MB + (_LEAF * counts.largest >> 20) + max(needed_mb)
    seconds = (_LG_S * (counts.leaves + counts.inner) + _HLG_S * arcs) * _sort_s() / _SORT_S
    return Forecast(lg_states, lg_arcs, states, arcs, memory_mb, seconds)


def _mb(sizes: dict[str, int], states: int, arcs: int) -> int:
    return (sizes["states"] * states + sizes["arcs"] * arcs) >> 20


def _sort_s() -> float:
    """CPU seconds of a fixed sort: a measure of the machine's speed."""
    numbers = np.random.default_rng(0).integers(2**40, size=1 << 18)
    start_s = time.process_time()
    numbers[np.argsort(numbers, kind="stable")].sum()
    return time.process_time() - start_s


class _Counts:
    """Counts over all trees of a forest. A leaf is one spelling of one word arc of a grammar state."""

    def __init__(self, forest: Forest, num_tokens: int):
        self.forest, self.spellings, self.num_tokens = forest, forest.spellings, num_tokens
        self.rank, self.rank_from_end = _ranks(forest.spellings)
        grammar = forest.grammar
        self.leaves = self.inner = 0  # leaves and inner states, before minimization
        self.largest = 0  # largest number of leaves in a block
        # Inner states that only one word passes through: with one spelling (tails), with several (forks).
        self.tails = self.forks = self.fork_arcs = 0
        self.degree = np.zeros(forest.num_joints, np.int64)  # arcs that leave each joint
        self.kept_tails: list[np.ndarray] = []
        entered: list[np.ndarray] = []  # keys of (joint, token of an arc that enters it)
        self.share = min(1.0, _TAIL_SAMPLE / max(1, grammar.num_arcs))
        for low, high in blocks(forest.first, BLOCK):
            entered.append(self._count(low, high))
        back = grammar.olabel == 0
        self.back = grammar.source[back], grammar.target[back]
        self.degree[: grammar.num_states] += np.bincount(self.back[0], minlength=grammar.num_states)
        if self.spellings.separator is not None:
            left = forest.entered[np.diff(forest.first)[forest.entered] > 0]
            self.degree[forest.end[left]] += 1
            entered.append(pair_key(left, np.int32(Tokens.token(self.spellings.separator)), num_tokens))
        self.entered = np.concatenate(entered) if entered else np.zeros(0, np.int64)
        self.merged_tails, self.tail_pairs = self._merged_tails()

    def _count(self, low: int, high: int) -> np.ndarray:
        """Count the trees of some states; returns the keys of the joints that their leaves enter."""
        node, spelling, word, _, target = self.forest.leaves(low, high)
        if not len(node):
            return np.zeros(0, np.int64)
        order = np.argsort(node * np.int64(len(self.rank)) + self.rank[spelling])
        node, spelling, word, target = node[order], spelling[order], word[order], ~target[order]
        length = self.spellings.length[spelling]
        same_tree = node[1:] == node[:-1]
        shared = np.zeros(len(node) + 1, np.int64)  # labels that a leaf shares with its predecessor
        shared[1:-1][same_tree] = self._common(spelling[:-1][same_tree], spelling[1:][same_tree])
        existing = np.minimum(np.minimum(shared[:-1], length - 1), np.append(0, length[:-1] - 1))
        run = np.flatnonzero(np.append(True, (word[1:] != word[:-1]) | ~same_tree))  # first spelling of each word
        known_at = 1 + np.maximum(shared[:-1][run], shared[np.append(run[1:], len(node))])
        known_at = np.repeat(known_at, np.diff(run, append=len(node)))
        tail = np.maximum(length - np.maximum(known_at, 1 + np.maximum(shared[:-1], shared[1:])), 0)
        fork = np.maximum(existing - known_at + 1, 0)  # states at which the spellings of one word branch
        fork[run] = 0

        self.largest = max(self.largest, len(node))
        self.leaves += len(node)
        self.inner += int((length - 1 - existing).sum())
        self.tails += int(tail.sum())
        self.forks += int(fork.sum())
        self.fork_arcs += int(fork.sum()) + int((fork > 0).sum())
        new_arc = (length == 1) | (existing == 0)
        self.degree[low:high] += np.bincount(node[new_arc], minlength=high - low)
        sampled = (tail > 0) & ((target * 40503 & 0xFFFF) < self.share * 0x10000)
        self.kept_tails.append(np.stack([c[sampled].astype(np.int32) for c in (target, spelling, tail)]))
        last = self.spellings.labels[self.spellings.first[spelling] + length - 1]
        return distinct(pair_key(target, last - Tokens.label(0), self.num_tokens))

    def _common(self, one: np.ndarray, other: np.ndarray, from_end: bool = False) -> np.ndarray:
        """The number of equal labels at the start, or at the end, of pairs of spellings."""
        first, length, labels = self.spellings.first, self.spellings.length, self.spellings.labels
        begins = [first[s] + length[s] - 1 if from_end else first[s] for s in (one, other)]
        limit = np.minimum(length[one], length[other])
        count = np.zeros(len(one), np.int64)
        todo, depth = np.arange(len(one)), 0
        while len(todo := todo[limit[todo] > depth]):
            step = -depth if from_end else depth
            todo = todo[labels[begins[0][todo] + step] == labels[begins[1][todo] + step]]
            depth += 1
            count[todo] = depth
        return count

    def _merged_tails(self) -> tuple[int, int]:
        """The number of distinct tail states, and of distinct pairs of a tail state and a token that enters it."""
        target, spelling, tail = np.concatenate(self.kept_tails, axis=1) if self.kept_tails else np.zeros((3, 0), int)
        self.kept_tails.clear()
        if not len(target):
            return 0, 0
        key = target * np.int64(len(self.rank)) + self.rank_from_end[spelling]
        order = np.argsort(key)
        head = np.flatnonzero(np.diff(key[order], prepend=-1))
        tail = np.maximum.reduceat(tail[order], head).astype(np.int64)  # the longest per target and spelling
        target, spelling = target[order[head]], spelling[order[head]]
        shared = np.zeros(len(head), np.int64)
        same = np.flatnonzero(target[1:] == target[:-1]) + 1
        shared[same] = np.minimum(self._common(spelling[same - 1], spelling[same], from_end=True), tail[same - 1] + 1)
        states = int((tail - np.minimum(tail, shared)).sum() / self.share)
        return states, int((tail - np.minimum(tail, np.maximum(shared - 1, 0))).sum() / self.share)

    @property
    def _root_arcs(self) -> int:
        """Arcs from joints into trees: all arcs of joints except back-offs and separators."""
        ends = self.degree[self.forest.grammar.num_states :]
        return int(self.degree.sum()) - len(self.back[0]) - int(ends.sum())

    def _open(self) -> tuple[int, int]:
        """Inner states that are not tails, and their arcs. Forks are assumed to merge at the rate of tails."""
        lost = 1 - self.merged_tails / max(1, self.tails)
        states = self.inner - self.tails - lost * self.forks
        arcs = self.leaves + self.inner - self._root_arcs - self.tails - lost * self.fork_arcs
        return round(states), round(arcs)

    def lg(self) -> tuple[int, int]:
        """States and arcs of LG."""
        states, arcs = self._open()
        return len(self.degree) + states + self.merged_tails, int(self.degree.sum()) + arcs + self.merged_tails

    def hlg(self) -> tuple[int, int]:
        """States and arcs of HLG. A state that k tokens enter becomes k + 1 states; each has a blank arc, and all but
        one have a self-loop."""
        blanks = np.arange(len(self.degree)) * np.int64(self.num_tokens)
        keys = all_pairs(np.append(self.entered, blanks), *self.back, self.num_tokens)
        pairs = np.bincount(keys // self.num_tokens)
        states, arcs = self._open()
        tail_pairs = self.merged_tails + self.tail_pairs
        all_arcs = (
            int((pairs * (self.degree + 2) - 1).sum()) + 2 * arcs + 3 * states + 3 * tail_pairs - self.merged_tails
        )
        return int(pairs.sum()) + 2 * states + tail_pairs, all_arcs


def _ranks(spellings: Spellings) -> tuple[np.ndarray, np.ndarray]:
    """The rank (P,) of each spelling in lexicographic order, and in the order of the reversed spellings.

    Equal spellings are ranked by word.
    """
    places = []
    end = 4 * np.cumsum(spellings.length)
    begin = end - 4 * spellings.length
    for labels in (spellings.labels, spellings.labels[::-1]):
        data = labels.astype(">i4").tobytes()
        units = [data[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
        place = np.empty(len(units), np.int32)
        place[sorted(range(len(units)), key=units.__getitem__)] = np.arange(len(units))
        places.append(place)
        begin, end = len(data) - end, len(data) - begin
    return places[0], places[1]
