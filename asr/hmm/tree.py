"""Phonetic decision trees: which contexts of a state share an output.

Each state of each phone has a tree, which starts as one leaf. The leaf whose best question gains the most likelihood is
split, until there are as many leaves as wanted or no split gains enough (Young, Odell & Woodland 1994).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from asr.hmm.model import Node, Split
from asr.hmm.tallies import COUNT, ContextTally, log_likelihood

FEWEST = 100  # frames of a leaf: 1 s
LEAST_GAIN = 100.0  # nats that a split gains at least


@dataclass(frozen=True)
class Best:
    """The best question of a leaf: side, number of the question, and the log-likelihood that it gains."""

    side: int
    question: int
    gain: float


@dataclass(eq=False)
class _Leaf:
    frames: ContextTally
    split: "tuple[Best, _Leaf, _Leaf] | None" = None  # once it is split: the question, and the leaves for yes and no


def grow(
    roots: Sequence[ContextTally],
    questions: Sequence[frozenset[int]],
    num_phones: int,
    leaves: int,
    floor: np.ndarray,
    fewest: float = FEWEST,
    least_gain: float = LEAST_GAIN,
) -> list[Node]:
    """The trees of the states `roots`, with `leaves` leaves in all if there are enough good splits. All leaves are
    numbered 0; see `asr.hmm.model.number_leaves`. Phones are less than `num_phones`."""
    asked = np.zeros((len(questions), num_phones))
    for number, phones in enumerate(questions):
        asked[number, list(phones)] = 1
    order = count()  # of equal gains, the leaf that came first
    heap: list[tuple[float, int, _Leaf, Best]] = []

    def offer(leaf: _Leaf) -> _Leaf:
        best = best_split(leaf.frames, asked, floor, fewest)
        if best and best.gain >= least_gain:
            heapq.heappush(heap, (-best.gain, next(order), leaf, best))
        return leaf

    trees = [offer(_Leaf(frames)) for frames in roots]
    for _ in range(leaves - len(trees)):
        if not heap:
            break
        _, _, leaf, best = heapq.heappop(heap)
        says_yes = asked[best.question, leaf.frames.contexts[:, best.side]] > 0
        parts = (_Leaf(leaf.frames.where(says_yes)), _Leaf(leaf.frames.where(~says_yes)))
        leaf.split = (best, offer(parts[0]), offer(parts[1]))
    return [_node(tree, questions) for tree in trees]


def best_split(frames: ContextTally, asked: np.ndarray, floor: np.ndarray, fewest: float) -> Best | None:
    """The question (row of `asked` (Q, P), 1 for its phones) whose answers raise the likelihood most, the first of
    equal ones; None if each leaves an answer with less than `fewest` frames."""
    total = frames.total
    whole = log_likelihood(total, floor)
    found: Best | None = None
    for side in (0, 1):
        by_phone = np.zeros((asked.shape[1], len(total)))
        np.add.at(by_phone, frames.contexts[:, side], frames.tallies)
        yes = asked @ by_phone  # (Q, 1 + 2 D)
        no = total - yes
        gain = log_likelihood(yes, floor) + log_likelihood(no, floor) - whole
        gain[np.minimum(yes[:, COUNT], no[:, COUNT]) < max(fewest, 1)] = -np.inf
        best = int(np.argmax(gain))
        if np.isfinite(gain[best]) and (found is None or gain[best] > found.gain):
            found = Best(side, best, float(gain[best]))
    return found


def _node(leaf: _Leaf, questions: Sequence[frozenset[int]]) -> Node:
    if leaf.split is None:
        return 0
    best, yes, no = leaf.split
    return Split(best.side, questions[best.question], _node(yes, questions), _node(no, questions))
