"""How large a graph becomes, before it is built: states, arcs, memory and seconds from counting alone.

The words that leave a state of G, sorted by their spelling, are a tree written line by line: what a spelling shares
with the one before it is there already, and where it shares no more with either neighbour its word is known. What
follows is a tail that depends on the rest of the spelling and on where it leads, and equal tails become one state.
So the counts before minimization are exact, and those after it lack only merges of states where several words are
still open, which are rare (docs/graphs.md has forecasts beside the truth).
"""

import time
from dataclasses import dataclass

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.expand import BLOCK, Forest
from asr.graph.lexicon_fst import Spellings
from asr.graph.memory import resident_mb
from asr.graph.ranges import blocks
from asr.graph.topology import all_pairs, distinct, pair_key
from asr.tokens import Tokens

_TAIL_SAMPLE = 4_000_000  # leaves whose tails are compared; of larger graphs a share of the targets is

# Measured on the graphs of docs/graphs.md. Seconds are of a machine on which `_sort_s` is _SORT_S.
_SORT_S = 0.020
_LG_S, _HLG_S = 0.42e-6, 0.16e-6  # an arc of the trees that grow, an arc of HLG
_TREES = {"states": 44, "arcs": 28}  # bytes of LG while it grows: columns, and the table of futures
_LG = {"states": 4, "arcs": 28}  # bytes of LG while HLG is written: columns, and where its arcs lead
_PAIR = 16  # bytes of a state of HLG
_BLOCK_MB = 15  # arcs that are written
_LEAF = 450  # bytes of a leaf while its tree grows


@dataclass(frozen=True)
class Forecast:
    """`states` and `arcs` are those of the graph that is searched; `memory_mb` is the largest of the process from here
    on, with what it holds already."""

    lg_states: int
    lg_arcs: int
    states: int
    arcs: int
    memory_mb: int
    seconds: float  # of CPU, from here on

    def __str__(self) -> str:
        return (f"forecast: {self.states:,} states, {self.arcs:,} arcs, graph.bin {self.file_mb} MB; "
                f"building takes {self.memory_mb} MB and some {self.seconds:.0f} s")  # fmt: skip

    @property
    def file_mb(self) -> int:
        return -(-16 * (self.states + self.arcs) // 2**20)


def forecast(grammar: Automaton, spellings: Spellings, num_tokens: int, implicit: bool = False) -> Forecast:
    """What `minimize(Forest(grammar, spellings))` and the topology will need, at a tenth of their time."""
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
    """CPU seconds that a sort takes: how fast this machine is."""
    numbers = np.random.default_rng(0).integers(2**40, size=1 << 18)
    start_s = time.process_time()
    numbers[np.argsort(numbers, kind="stable")].sum()
    return time.process_time() - start_s


class _Counts:
    """Sums over all trees of a forest. A leaf is one way to say a word that leaves a state."""

    def __init__(self, forest: Forest, num_tokens: int):
        self.forest, self.spellings, self.num_tokens = forest, forest.spellings, num_tokens
        self.rank, self.rank_from_end = _ranks(forest.spellings)
        grammar = forest.grammar
        self.leaves = self.inner = 0  # leaves and inner states, before any merge
        self.largest = 0  # most leaves that grow together
        self.tails = self.forks = self.fork_arcs = 0  # inner states where one word is left; with several ways to say it
        self.degree = np.zeros(forest.num_joints, np.int64)  # arcs that leave each joint
        self.kept_tails: list[np.ndarray] = []
        entered: list[np.ndarray] = []  # keys of (joint, token that leads into it)
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
        """Adds the trees of some states; returns the keys of the joints that their leaves enter."""
        node, spelling, word, _, target = self.forest.leaves(low, high)
        if not len(node):
            return np.zeros(0, np.int64)
        order = np.argsort(node * np.int64(len(self.rank)) + self.rank[spelling])
        node, spelling, word, target = node[order], spelling[order], word[order], ~target[order]
        length = self.spellings.length[spelling]
        same_tree = node[1:] == node[:-1]
        shared = np.zeros(len(node) + 1, np.int64)  # units that a leaf has in common with the one before it
        shared[1:-1][same_tree] = self._common(spelling[:-1][same_tree], spelling[1:][same_tree])
        there = np.minimum(np.minimum(shared[:-1], length - 1), np.append(0, length[:-1] - 1))
        run = np.flatnonzero(np.append(True, (word[1:] != word[:-1]) | ~same_tree))  # ways to say the same word
        known_at = 1 + np.maximum(shared[:-1][run], shared[np.append(run[1:], len(node))])
        known_at = np.repeat(known_at, np.diff(run, append=len(node)))
        tail = np.maximum(length - np.maximum(known_at, 1 + np.maximum(shared[:-1], shared[1:])), 0)
        fork = np.maximum(there - known_at + 1, 0)  # states from which one word goes on in several ways
        fork[run] = 0

        self.largest = max(self.largest, len(node))
        self.leaves += len(node)
        self.inner += int((length - 1 - there).sum())
        self.tails += int(tail.sum())
        self.forks += int(fork.sum())
        self.fork_arcs += int(fork.sum()) + int((fork > 0).sum())
        new_arc = (length == 1) | (there == 0)
        self.degree[low:high] += np.bincount(node[new_arc], minlength=high - low)
        sampled = (tail > 0) & ((target * 40503 & 0xFFFF) < self.share * 0x10000)
        self.kept_tails.append(np.stack([c[sampled].astype(np.int32) for c in (target, spelling, tail)]))
        last = self.spellings.labels[self.spellings.first[spelling] + length - 1]
        return distinct(pair_key(target, last - Tokens.label(0), self.num_tokens))

    def _common(self, one: np.ndarray, other: np.ndarray, from_end: bool = False) -> np.ndarray:
        """How many units two spellings begin, or end, with alike."""
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
        """Distinct states of tails, and distinct pairs of one with the token that leads into it."""
        target, spelling, tail = np.concatenate(self.kept_tails, axis=1) if self.kept_tails else np.zeros((3, 0), int)
        self.kept_tails.clear()
        if not len(target):
            return 0, 0
        key = target * np.int64(len(self.rank)) + self.rank_from_end[spelling]
        order = np.argsort(key)
        head = np.flatnonzero(np.diff(key[order], prepend=-1))
        tail = np.maximum.reduceat(tail[order], head).astype(np.int64)  # the longest of a target and spelling
        target, spelling = target[order[head]], spelling[order[head]]
        shared = np.zeros(len(head), np.int64)
        same = np.flatnonzero(target[1:] == target[:-1]) + 1
        shared[same] = np.minimum(self._common(spelling[same - 1], spelling[same], from_end=True), tail[same - 1] + 1)
        states = int((tail - np.minimum(tail, shared)).sum() / self.share)
        return states, int((tail - np.minimum(tail, np.maximum(shared - 1, 0))).sum() / self.share)

    @property
    def _root_arcs(self) -> int:
        """Arcs from joints into trees; the others are back-offs and separators."""
        ends = self.degree[self.forest.grammar.num_states :]
        return int(self.degree.sum()) - len(self.back[0]) - int(ends.sum())

    def _open(self) -> tuple[int, int]:
        """States of trees that are no tails, and their arcs. Forks are taken to merge as tails do."""
        lost = 1 - self.merged_tails / max(1, self.tails)
        states = self.inner - self.tails - lost * self.forks
        arcs = self.leaves + self.inner - self._root_arcs - self.tails - lost * self.fork_arcs
        return round(states), round(arcs)

    def lg(self) -> tuple[int, int]:
        """States and arcs of LG."""
        states, arcs = self._open()
        return len(self.degree) + states + self.merged_tails, int(self.degree.sum()) + arcs + self.merged_tails

    def hlg(self) -> tuple[int, int]:
        """States and arcs of HLG: a state entered by k tokens becomes k + 1, each with a blank and all but the first
        with a loop."""
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
    """The place (P,) of each spelling among all, in the order of its units and in that of its units from the end.

    Equal spellings stand in the order of their words.
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
