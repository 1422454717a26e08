"""Many-to-many alignment of the letters of a word with the units of its pronunciation, by expectation maximisation.

A cut divides a word and its pronunciation into chunks. A chunk has one letter and 0 to `max_units` units, or up to
`max_letters` letters and one unit. The probability of a cut is the product of its chunks' probabilities, which are
re-estimated from their expected counts over all cuts (Jiampojamarn, Kondrak & Sherif 2007, "Applying many-to-many
alignments and hidden Markov models to letter-to-phoneme conversion"). The best cut minimises the sum over its chunks
of -log p x the length of the chunk's longer side. Without that factor, cuts with fewer chunks win and chunks grow to
the maximal length (Novak, Minematsu & Hirose 2016, "Phonetisaurus: exploring grapheme-to-phoneme conversion with joint
n-gram models in the WFST framework").

Pairs of equal lengths share one grid of cuts, so each step of the forward, backward and best-path recursions is one
array operation over all of them.
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
    """A chunk's place in the grid: `letters` letters up to letter `i`, and `units` units up to unit `j`."""

    i: int
    j: int
    letters: int
    units: int


@dataclass
class Group:
    """W pairs, each of I letters and J units."""

    pairs: Ids  # (W,) their indices in the list of pairs
    size: tuple[int, int]  # (I, J)
    steps: list[Step]  # S steps: all on a path from (0, 0) to (I, J), sorted by (i, j)
    chunks: NDArray[np.integer]  # (S, W) id of the chunk of each step

    def expected(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, W): posterior probability of each step; 0 for a pair that has no cut."""
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
        """The chunks of each pair's cheapest cut; empty if every cut has an infinite cost."""
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
    """The best cut of each pair."""

    chunks: list[Pair]  # that occur in a cut, sorted
    cuts: list[list[int]]  # per pair, the indices of its chunks; empty for a pair that has no cut


def align(pairs: Sequence[Pair], max_letters: int, max_units: int, iterations: int = 10) -> Alignment:
    """The best cut of each pair under the chunk model that EM finds from uniform probabilities."""
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
    """Groups the pairs by their lengths. Returns the groups, then letter and unit sequences by their ids.

    `chunks` of a group holds keys: id of the chunk's letters x number of unit sequences + id of its units.
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
    """All steps on paths from (0, 0) to (last_i, last_j); empty if there is no path."""
    sizes = [(1, units) for units in range(max_units + 1)] + [(letters, 1) for letters in range(2, max_letters + 1)]
    begins = {(0, 0)}
    for i in range(1, last_i + 1):
        begins |= {(i, j) for j in range(last_j + 1) for a, b in sizes if (i - a, j - b) in begins}
    ends = {(last_i, last_j)}
    for i in range(last_i - 1, -1, -1):
        ends |= {(i, j) for j in range(last_j + 1) for a, b in sizes if (i + a, j + b) in ends}
    return [Step(i, j, a, b) for i, j in sorted(begins & ends) for a, b in sizes if (i - a, j - b) in begins & ends]


def _number(groups: list[Group], base: int) -> Ids:
    """Replaces the keys in `chunks` by their indices in the sorted array of all keys; returns that array."""
    keys = np.zeros(0, np.int64)
    for group in groups:
        keys = np.union1d(keys, np.unique(group.chunks))
    for group in groups:
        group.chunks = np.searchsorted(keys, group.chunks).astype(np.int32)
    return keys
