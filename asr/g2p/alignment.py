"""Which letters of a word stand for which units of its pronunciation: many-to-many alignment by EM.

A word and its pronunciation are cut into chunks: one letter and 0 to `max_units` units, or up to `max_letters` letters
and one unit. A unigram model of chunks says how likely a cut is; its probabilities are re-estimated from their expected
counts over all cuts (Jiampojamarn, Kondrak & Sherif 2007, "Applying many-to-many alignments and hidden Markov models
to letter-to-phoneme conversion"). The best cut is that of least cost, a chunk's cost being -log p times the longer of
its sides: without that factor a product of fewer probabilities wins, and chunks grow as long as they may (Novak,
Minematsu & Hirose 2016, "Phonetisaurus: exploring grapheme-to-phoneme conversion with joint n-gram models in the WFST
framework").

Pairs of equal lengths share one grid of cuts, so that each step of the forward, backward and best-path recursions is
one operation on arrays over all of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Pair = tuple[str, tuple[str, ...]]  # letters, units
Ids = NDArray[np.int64]


class Step(NamedTuple):
    """A chunk's place in the grid: it ends behind letter `i` and unit `j`, `letters` and `units` long."""

    i: int
    j: int
    letters: int
    units: int


@dataclass
class Group:
    """W pairs of I letters and J units each."""

    pairs: Ids  # (W,) their places in the list
    size: tuple[int, int]  # (I, J)
    steps: list[Step]  # S of them: all that lie on a way from (0, 0) to (I, J), ends before beginnings
    chunks: NDArray[np.integer]  # (S, W) id of the chunk that each step is

    def expected(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, W): probability that a pair's cut takes each step; 0 where the model allows no cut."""
        last_i, last_j = self.size
        step_probs = probs[self.chunks]
        forward = np.zeros((last_i + 1, last_j + 1, len(self.pairs)))
        backward = np.zeros_like(forward)
        forward[0, 0] = backward[last_i, last_j] = 1
        for (i, j, a, b), prob in zip(self.steps, step_probs, strict=True):
            forward[i, j] += forward[i - a, j - b] * prob
        for (i, j, a, b), prob in zip(reversed(self.steps), step_probs[::-1], strict=True):
            backward[i - a, j - b] += backward[i, j] * prob
        whole = forward[last_i, last_j]
        scale = np.divide(1.0, whole, out=np.zeros_like(whole), where=whole > 0)
        for (i, j, a, b), prob in zip(self.steps, step_probs, strict=True):
            prob *= forward[i - a, j - b] * backward[i, j] * scale
        return step_probs

    def best(self, costs: NDArray[np.float64]) -> list[list[int]]:
        """The chunks of each pair's cheapest cut; none where every cut costs infinity."""
        last_i, last_j = self.size
        least = np.full((last_i + 1, last_j + 1, len(self.pairs)), np.inf)
        least[0, 0] = 0
        step_to = np.zeros(least.shape, np.int32)
        for number, (i, j, a, b) in enumerate(self.steps):
            cost = least[i - a, j - b] + costs[self.chunks[number]]
            better = cost < least[i, j]
            least[i, j, better] = cost[better]
            step_to[i, j, better] = number
        cuts: list[list[int]] = []
        for pair, is_possible in enumerate(np.isfinite(least[last_i, last_j])):
            cut, i, j = [], last_i, last_j
            while is_possible and i:
                number = step_to[i, j, pair]
                cut.append(int(self.chunks[number, pair]))
                i, j = i - self.steps[number].letters, j - self.steps[number].units
            cuts.append(cut[::-1])
        return cuts


@dataclass
class Alignment:
    chunks: list[Pair]  # those in use, sorted
    cuts: list[list[int]]  # of each pair, the numbers of its chunks; empty where it cannot be cut


def align(pairs: Sequence[Pair], max_letters: int, max_units: int, iterations: int = 10) -> Alignment:
    """The best cut of each pair under the model that EM finds from a uniform start."""
    groups, letters, units = _grids(pairs, max_letters, max_units)
    base = len(units)
    keys = _number(groups, base)
    probs = np.full(len(keys), 1 / max(1, len(keys)))
    for _ in tqdm(range(iterations), unit=" passes", desc="align letters", delay=2.0, leave=False):
        counts = np.zeros(len(keys))
        for group in groups:
            counts += np.bincount(group.chunks.ravel(), group.expected(probs).ravel(), minlength=len(keys))
        probs = counts / counts.sum()
    table = [(letters[key // base], units[key % base]) for key in keys.tolist()]
    longest = np.array([max(len(a), len(b)) for a, b in table])
    with np.errstate(divide="ignore"):
        costs = -np.log(probs) * longest
    cuts: list[list[int]] = [[]] * len(pairs)
    for group in groups:
        for pair, cut in zip(group.pairs.tolist(), group.best(costs), strict=True):
            cuts[pair] = cut
    used = sorted({chunk for cut in cuts for chunk in cut}, key=table.__getitem__)
    number = {chunk: n for n, chunk in enumerate(used)}
    return Alignment([table[chunk] for chunk in used], [[number[chunk] for chunk in cut] for cut in cuts])


def _grids(pairs: Sequence[Pair], max_letters: int, max_units: int) -> tuple[list[Group], list[str], list[tuple]]:
    """The pairs by their lengths, with the keys of their chunks: id of the letters x number of units + id of the units.

    Returned with the letters and the units that these ids mean.
    """
    letter_ids: dict[str, int] = defaultdict(lambda: len(letter_ids))
    unit_ids: dict[tuple[str, ...], int] = defaultdict(lambda: len(unit_ids))
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (word, pronunciation) in enumerate(pairs):
        by_size[len(word), len(pronunciation)].append(number)
    plans = []
    for (last_i, last_j), members in sorted(by_size.items()):
        steps = _steps(last_i, last_j, max_letters, max_units)
        left = {(i, a): np.array([letter_ids[pairs[n][0][i - a : i]] for n in members])
                for i, a in {(s.i, s.letters) for s in steps}}  # fmt: skip
        right = {(j, b): np.array([unit_ids[pairs[n][1][j - b : j]] for n in members])
                 for j, b in {(s.j, s.units) for s in steps}}  # fmt: skip
        if steps:
            plans.append((members, (last_i, last_j), steps, left, right))
    base = len(unit_ids)
    groups = [
        Group(np.array(members), size, steps, np.stack([left[i, a] * base + right[j, b] for i, j, a, b in steps]))
        for members, size, steps, left, right in plans
    ]
    return groups, list(letter_ids), list(unit_ids)


def _steps(last_i: int, last_j: int, max_letters: int, max_units: int) -> list[Step]:
    """The steps that some way from (0, 0) to (last_i, last_j) takes; none where there is no way."""
    sizes = [(1, units) for units in range(max_units + 1)] + [(letters, 1) for letters in range(2, max_letters + 1)]
    begins = {(0, 0)}
    for i in range(1, last_i + 1):
        begins |= {(i, j) for j in range(last_j + 1) for a, b in sizes if (i - a, j - b) in begins}
    ends = {(last_i, last_j)}
    for i in range(last_i - 1, -1, -1):
        ends |= {(i, j) for j in range(last_j + 1) for a, b in sizes if (i + a, j + b) in ends}
    return [Step(i, j, a, b) for i, j in sorted(begins & ends) for a, b in sizes if (i - a, j - b) in begins & ends]


def _number(groups: list[Group], base: int) -> Ids:
    """Replaces the keys of chunks by their places in the ascending list of all keys, which it returns."""
    keys = np.zeros(0, np.int64)
    for group in groups:
        keys = np.union1d(keys, np.unique(group.chunks))
    for group in groups:
        group.chunks = np.searchsorted(keys, group.chunks).astype(np.int32)
    return keys
