"""What an utterance may say, as states that each emit an output of the net in every frame.

The text is a row of slots: words in order, each in any of its spellings, and optional fillers between them. The states
of a spelling are its tokens with a blank between two of them, which only equal tokens need. Between slots and at both
ends is a gap, for any number of frames of blank, silence or a separator:

    gap 0   a _ b (or: a _ c)   gap 1   d _ e   gap 2

This is CTC's rule (Graves et al. 2006) for any of the spellings, with any number of silences or separators between
words. Two equal tokens that meet where words meet need a frame of the gap between them.

If slots may be skipped, a path leaves out the slots between two gaps, at the cost of each; it is then in the later gap
for at least a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

GARBAGE, GAP = -1, -2  # columns of emissions beside the outputs of the net: any sound, and a gap


@dataclass(frozen=True)
class Spelling:
    """The tokens of one pronunciation, and its cost."""

    tokens: tuple[int, ...]
    cost: float = 0.0


@dataclass(frozen=True)
class Slot:
    word: str
    spellings: Sequence[Spelling]
    is_optional: bool = False


class Network:
    """The states of a row of slots, from left to right.

    `token` (S,): the output that each state emits. `slot` (S,): its slot, for a gap the number of slots before it.
    `place` (S,): the number of its token in the spelling; -1 for blanks and gaps. `spelling` (S,): which one.
    `step` and `leap` (S,): 0 if a path may come from one, from two states before, else -inf.
    `source`, `target`, `cost` (E,): the edges between slots and gaps, by target; the source S is the start.
    """

    def __init__(self, slots: Sequence[Slot], skip_cost: float | None = None):
        """`skip_cost`: of leaving out a slot that is not optional, for each token of its shortest spelling; None: none
        may be left out."""
        self.slots, self.skip_cost = slots, skip_cost
        states: list[tuple[int, int, int, int]] = [(GAP, 0, -1, -1)]  # token, slot, place, spelling
        first: list[list[int]] = []  # of each slot: the first and the last states of its spellings, and its gap
        last: list[list[int]] = []
        gaps = [0]
        for number, slot in enumerate(slots):
            first.append([])
            last.append([])
            for which, spelling in enumerate(slot.spellings):
                first[-1].append(len(states))
                for place, token in enumerate(spelling.tokens):
                    states += [(0, number, -1, which)] * (place > 0)
                    states.append((token, number, place, which))
                last[-1].append(len(states) - 1)
            gaps.append(len(states))
            states.append((GAP, number + 1, -1, -1))
        self.token, self.slot, self.place, self.spelling = np.array(states, np.int32).T
        self.gaps = np.array(gaps)
        self.start = len(states)
        self._connect_spellings()
        self._connect_slots(first, last)

    def _connect_spellings(self) -> None:
        inner = np.ones(len(self.token), bool)  # not the first state of a spelling, nor a gap
        inner[self.gaps] = False
        inner[1:] &= (self.slot[1:] == self.slot[:-1]) & (self.spelling[1:] == self.spelling[:-1])
        inner[0] = False
        leaps = inner & (self.place > 0)
        leaps[2:] &= self.token[2:] != self.token[:-2]
        self.step = np.where(inner, 0, -np.inf).astype(np.float32)
        self.leap = np.where(leaps, 0, -np.inf).astype(np.float32)

    def _connect_slots(self, first: Sequence[Sequence[int]], last: Sequence[Sequence[int]]) -> None:
        edges: list[tuple[int, int, float]] = [(0, self.start, 0.0)]  # target, source, cost
        edges += [(int(self.gaps[number + 1]), state, 0.0) for number, ends in enumerate(last) for state in ends]
        ends = [[self.start], *last]
        for number, slot in enumerate(self.slots):
            before = [number]
            if number and self.slots[number - 1].is_optional:
                before.append(number - 1)
            sources = [s for n in before for s in (*ends[n], int(self.gaps[n]))]
            for spelling, state in zip(slot.spellings, first[number], strict=True):
                edges += [
                    (state, source, -spelling.cost)
                    for source in sources
                    if source == self.start or self.token[source] != self.token[state]
                ]
        edges.sort()
        self.target, self.source = np.array([edge[:2] for edge in edges]).T
        self.cost = np.array([edge[2] for edge in edges], np.float32)
        final = [len(self.slots)]
        if self.slots and self.slots[-1].is_optional:
            final.append(len(self.slots) - 1)
        self.final = sorted({s for n in final for s in (*ends[n], int(self.gaps[n])) if s != self.start})

    @cached_property
    def skipped(self) -> np.ndarray:
        """(W + 1,) the cost of skipping all slots before each gap."""
        return np.cumsum([0.0, *map(self.cost_of_skipping, self.slots)])

    def cost_of_skipping(self, slot: Slot) -> float:
        if slot.is_optional or self.skip_cost is None:
            return 0.0
        return self.skip_cost * min(len(spelling.tokens) for spelling in slot.spellings)

    def __len__(self) -> int:
        return len(self.token)
