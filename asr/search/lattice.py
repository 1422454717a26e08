"""Word lattices: the word sequences near the best one of an utterance, each once, on its cheapest path.

    decoded = Decoder(graph, lattice_beam=8.0).decode_lattice(log_probs)
    for reading in decoded.lattice.nbest(10):
        print(reading.cost, [words[label] for label in reading.labels])

A lattice is acyclic and deterministic: the arcs that leave a state have different words, so each path from state 0 to
a final state is a different word sequence. Arcs lead from lower to higher states and are sorted by source. The
alignment of a path, one token per frame, is the concatenation of the tokens of its arcs and of its final state. Costs
are negative natural logs in three parts: acoustic (scaled as in the search), graph (LM, lexicon, penalties) and boost
(phrases). Readings are ranked by the sum. Posteriors leave boosts out: a preference says nothing about the audio.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, inf, log1p

import numpy as np
from numpy.typing import NDArray

from asr import _decoder

_COSTS = [("graph", "<f4"), ("acoustic", "<f4"), ("boost", "<f4"), ("tokens_end", "<u4")]
ARC = np.dtype([("from", "<i4"), ("to", "<i4"), ("word", "<i4"), *_COSTS])
FINAL = np.dtype([("state", "<i4"), *_COSTS])
_GIVEN_BACK = 1e-3  # nats: rounding of boosts that are given back
_ERROR = 1e6  # a word error in units of cost, above the cost of any path beyond the cheapest


@dataclass(frozen=True)
class Reading:
    """One path of a lattice."""

    labels: list[int]  # output labels of the graph
    cost: float  # graph + acoustic + boost
    graph_cost: float
    acoustic_cost: float
    boost_cost: float  # of phrases; negative for a gain
    alignment: NDArray[np.int32]  # (F,) token of the net at each frame, 0 blank


@dataclass(frozen=True)
class Lattice:
    """S states, A arcs sorted by source, E final states.

    `tokens[tokens_end[k - 1] : tokens_end[k]]` are the tokens of record k, counting the arcs, then the final states.
    `beam`: the lattice holds the paths that cost up to this much more than the best. It is smaller than requested if
    the lattice would have had too many arcs. `best`: the words of the search's best path, which the lattice always
    holds; `readings` begins with them. None if costs were changed since.
    """

    num_states: int
    arcs: NDArray[np.void]  # (A,)
    finals: NDArray[np.void]  # (E,)
    tokens: NDArray[np.int32]  # one per searched frame of each arc and final state
    frames: NDArray[np.int32]  # frame number of each searched frame
    num_frames: int
    beam: float
    complete: bool  # False: no path reached a final state, these are partial paths
    best: list[int] | None = None

    @classmethod
    def determinize(cls, kept: "_decoder.StateLattice", max_arcs: int) -> "Lattice":
        """The word lattice of a search's state lattice, with at most `max_arcs` arcs."""
        lattice = kept.determinize(kept.beam, max_arcs)
        return cls(
            lattice.num_states,
            np.frombuffer(lattice.arcs, ARC),
            np.frombuffer(lattice.finals, FINAL),
            np.frombuffer(lattice.tokens, np.int32),
            np.array(kept.frames, np.int32),
            kept.num_frames,
            lattice.beam,
            kept.complete,
            list(kept.best),
        )

    @property
    def num_arcs(self) -> int:
        return len(self.arcs)

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """(A,) graph + acoustic + boost of each arc."""
        return _sum(self.arcs)

    @cached_property
    def final_costs(self) -> NDArray[np.float64]:
        """(S,) final cost of each state; inf if it is not final."""
        costs = np.full(self.num_states, inf)
        costs[self.finals["state"]] = _sum(self.finals)
        return costs

    @cached_property
    def first(self) -> list[int]:
        """(S + 1,): the arcs of state s are first[s] to first[s + 1] - 1."""
        return [0, *np.cumsum(np.bincount(self.arcs["from"], minlength=self.num_states)).tolist()]

    @cached_property
    def to_end(self) -> list[float]:
        """(S,) cost of the cheapest path from each state to a final state."""
        to_end = self.final_costs.tolist()
        columns = zip(self.arcs["from"].tolist(), self.arcs["to"].tolist(), self.costs.tolist(), strict=True)
        for source, target, cost in reversed(list(columns)):
            to_end[source] = min(to_end[source], cost + to_end[target])
        return to_end

    @cached_property
    def state_frames(self) -> NDArray[np.int32]:
        """(S,) frame at which paths reach each state: the first frame of its arcs."""
        num_tokens = np.diff(self.arcs["tokens_end"], prepend=0)
        searched = np.zeros(self.num_states, np.int64)
        for source, target, count in zip(self.arcs["from"], self.arcs["to"], num_tokens, strict=True):
            searched[target] = searched[source] + count
        return np.append(self.frames, self.num_frames)[searched].astype(np.int32)

    def nbest(self, n: int) -> list[Reading]:
        """The `n` cheapest word sequences, cheapest first; fewer if the lattice has fewer."""
        return [reading for _, reading in zip(range(n), self.readings(), strict=False)]

    def readings(self) -> Iterator[Reading]:
        """All word sequences, cheapest first (A* search with the exact remaining cost); `best` first of all."""
        if self.num_states == 0:
            return
        best = None if self.best is None else self.path(self.best)
        if best is not None:
            yield self._reading([*best, -1 - self._end_of(best)])
        targets, costs = self.arcs["to"].tolist(), self.costs.tolist()
        # (cost of the whole path, tie breaker, state or -1 at the end, cost so far, path)
        heap: list[tuple[float, int, int, float, tuple | None]] = [(self.to_end[0], 0, 0, 0.0, None)]
        number = 0
        while heap:
            _, _, state, cost, path = heapq.heappop(heap)
            if state < 0:
                steps = _unlink(path)
                if steps[:-1] != best:
                    yield self._reading(steps)
                continue
            if (final := cost + self.final_costs[state]) < inf:
                heapq.heappush(heap, (final, number := number + 1, -1, final, (path, -1 - state)))
            for arc in range(self.first[state], self.first[state + 1]):
                far = cost + costs[arc]
                whole = far + self.to_end[targets[arc]]
                if whole < inf:
                    heapq.heappush(heap, (whole, number := number + 1, targets[arc], far, (path, arc)))

    def _reading(self, steps: list[int]) -> Reading:
        """`steps`: the arcs of the path, then -1 - its final state."""
        *arcs, end = steps
        final = int(np.flatnonzero(self.finals["state"] == -1 - end)[0])
        graph, acoustic, boost = (
            float(self.arcs[kind][arcs].sum(dtype=np.float64) + self.finals[kind][final])
            for kind in ("graph", "acoustic", "boost")
        )
        tokens = [self.tokens_of(arc) for arc in [*arcs, self.num_arcs + final]]
        words = self.arcs["word"][arcs].tolist()
        return Reading(words, graph + acoustic + boost, graph, acoustic, boost, self.align(tokens))

    def path(self, labels: Sequence[int]) -> list[int] | None:
        """The arcs of the path with these labels; None if the lattice does not have it."""
        state, path = 0, []
        for label in labels:
            first, end = self.first[state], self.first[state + 1]
            arcs = first + np.flatnonzero(self.arcs["word"][first:end] == label)
            if not len(arcs):
                return None
            path.append(int(arcs[0]))
            state = int(self.arcs["to"][path[-1]])
        return path if self.num_states and self.final_costs[state] < inf else None

    def _end_of(self, path: list[int]) -> int:
        return int(self.arcs["to"][path[-1]]) if path else 0

    def tokens_of(self, arc: int) -> NDArray[np.int32]:
        """The tokens of an arc, or of final state i if `arc` is `num_arcs` + i."""
        return self.tokens[self._token_ends[arc] : self._token_ends[arc + 1]]

    @cached_property
    def _token_ends(self) -> list[int]:
        return [0, *self.arcs["tokens_end"].tolist(), *self.finals["tokens_end"].tolist()]

    def align(self, tokens: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        """Alignment (F,) from the tokens of a path's searched frames; skipped frames get the blank."""
        alignment = np.zeros(self.num_frames, np.int32)
        searched = np.concatenate(tokens)
        alignment[self.frames[: len(searched)]] = searched
        return alignment

    def scaled(self, graph: float = 1.0, acoustic: float = 1.0) -> "Lattice":
        """The lattice with graph and acoustic costs multiplied by these factors; boosts do not change."""
        arcs, finals = self.arcs.copy(), self.finals.copy()
        for records in (arcs, finals):
            records["graph"] *= graph
            records["acoustic"] *= acoustic
        return replace(self, arcs=arcs, finals=finals, best=None)

    @cached_property
    def has_boosts(self) -> bool:
        return bool(self.arcs["boost"].any() or self.finals["boost"].any())

    @cached_property
    def has_preferred(self) -> bool:
        """Whether boosts change the cost of any path. Those of a phrase that is begun are given back where it fails, so
        the sum of boosts from the start to a state is one and the same, unless a phrase is said on the way."""
        if not self.has_boosts:
            return False
        sums: dict[int, float] = {0: 0.0}
        columns = zip(self.arcs["from"].tolist(), self.arcs["to"].tolist(), self.arcs["boost"].tolist(), strict=True)
        for source, target, boost in columns:  # arcs are in the order of their states
            found = sums[source] + boost
            if abs(sums.setdefault(target, found) - found) > _GIVEN_BACK:
                return True
        ends = zip(self.finals["state"].tolist(), self.finals["boost"].tolist(), strict=True)
        return any(abs(sums[state] + boost) > _GIVEN_BACK for state, boost in ends)

    @cached_property
    def unboosted(self) -> "Lattice":
        """The lattice without the costs of phrases."""
        if not self.has_boosts:
            return self
        arcs, finals = self.arcs.copy(), self.finals.copy()
        arcs["boost"] = finals["boost"] = 0
        return replace(self, arcs=arcs, finals=finals, best=None)

    def posteriors(self, scale: float = 1.0, boosts: bool = False) -> NDArray[np.float64]:
        """(A,) posterior of each arc, where a path has the weight exp(-scale * cost). `boosts`: whether they count."""
        lattice = self if boosts else self.unboosted
        sources, targets = self.arcs["from"].tolist(), self.arcs["to"].tolist()
        costs = (scale * lattice.costs).tolist()
        forward, backward = [-inf] * self.num_states, lattice.log_masses(scale)
        forward[:1] = [0.0] * min(1, self.num_states)
        for source, target, cost in zip(sources, targets, costs, strict=True):
            forward[target] = log_add(forward[target], forward[source] - cost)
        through = np.array(forward)[sources] + np.array(backward)[targets] - np.array(costs)
        return np.exp(through - backward[0]) if self.num_arcs else np.zeros(0)

    def log_masses(self, scale: float = 1.0) -> list[float]:
        """(S,) log of the total weight of the paths from each state to the end; a path weighs exp(-scale * cost)."""
        masses = (-scale * self.final_costs).tolist()
        columns = zip(self.arcs["from"].tolist(), self.arcs["to"].tolist(), (scale * self.costs).tolist(), strict=True)
        for source, target, cost in reversed(list(columns)):
            masses[source] = log_add(masses[source], masses[target] - cost)
        return masses

    def oracle(self, ref: Sequence[int]) -> int:
        """The least number of word errors (Levenshtein) of any path of the lattice against the labels `ref`."""
        return self._nearest(ref)[0]

    def nearest(self, ref: Sequence[int]) -> Reading:
        """Of the readings with the fewest word errors against the labels `ref`, the cheapest.

        Raises ValueError if the lattice has no reading."""
        if self.num_states == 0:
            raise ValueError("the lattice has no reading")
        return self._reading(self._nearest(ref)[1])

    def _nearest(self, ref: Sequence[int]) -> tuple[int, list[int]]:
        """The errors and the steps (see `_reading`) of that reading."""
        if self.num_states == 0:
            return len(ref), []
        labels = np.array(ref, np.int64)
        count = _ERROR * np.arange(len(ref) + 1)
        targets, words = self.arcs["to"].tolist(), self.arcs["word"].tolist()
        # [s, j]: of the rest of a path from state s against ref[j:]; _ERROR an error, plus cost above the cheapest path
        to_end = np.array(self.to_end)
        extra = np.maximum(0.0, self.costs + to_end[self.arcs["to"]] - to_end[self.arcs["from"]])
        rest = np.full((self.num_states, len(ref) + 1), inf)

        def after(arc: int) -> NDArray[np.float64]:
            """(J,) of the path over this arc."""
            best = extra[arc] + _ERROR + rest[targets[arc]]
            best[:-1] = np.minimum(best[:-1], extra[arc] + _ERROR * (labels != words[arc]) + rest[targets[arc], 1:])
            return best

        for state in range(self.num_states - 1, -1, -1):
            rest[state, -1] = self.final_costs[state] - to_end[state]
            for arc in range(self.first[state], self.first[state + 1]):
                rest[state] = np.minimum(rest[state], after(arc))
            # Deletions: the running minimum, from the end, of rest[j] + j errors, less j errors.
            rest[state] = np.minimum.accumulate((rest[state] + count)[::-1])[::-1] - count
        state, j = 0, 0
        steps: list[int] = []
        while True:
            end = self.final_costs[state] - to_end[state] + count[-1] - count[j]
            arcs = range(self.first[state], self.first[state + 1])
            ways = [(after(arc)[j:] + count[: len(ref) + 1 - j], arc) for arc in arcs]  # with deletions before the arc
            best = min(ways, key=lambda way: way[0].min(), default=None)
            if best is None or end <= best[0].min():
                return int(rest[0, 0] // _ERROR), [*steps, -1 - state]
            j += int(best[0].argmin())
            state, arc = targets[best[1]], best[1]
            if j < len(ref) and _ERROR * (labels[j] != words[arc]) + rest[state, j + 1] <= _ERROR + rest[state, j]:
                j += 1
            steps.append(arc)


def _sum(records: NDArray[np.void]) -> NDArray[np.float64]:
    return records["graph"].astype(np.float64) + records["acoustic"] + records["boost"]


def _unlink(path: tuple | None) -> list[int]:
    steps: list[int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return steps[::-1]


def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -inf else a + log1p(exp(b - a))
