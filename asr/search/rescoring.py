"""Rescoring: a lattice with another language model, by composition, or an n-best list with any function.

with_new = rescore(lattice, NgramScorer("big.arpa", words), old=NgramScorer("small.arpa", words))
best = with_new.nbest(1)[0]
neural = NeuralScorer(file.read("lm.safetensors")).along(words, order=4)
with_neural = compose(lattice, neural, weight=0.3, keep=0.7, beam=8.0)

readings = rerank(lattice.nbest(100), lambda texts: neural_costs(texts), words, weight=0.5)
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.lm import score
from asr.lm.model import LN10
from asr.pieces import are_pieces, joined
from asr.search.lattice import Lattice, Reading
from asr.words import END

ENDS = -1  # in place of a label: the end of the text
_ROUNDING = 1e-4  # of the sum of a path's costs


class WordScorer(Protocol):
    """A language model that follows the paths of a lattice, many at once. Costs are in nats.

    Where two paths meet with equal histories, the history of the cheaper one goes on. An n-gram model's are equal if
    they have equal futures; a neural model's if the last words are the same, which approximates it."""

    def start(self) -> Hashable: ...

    def step(
        self, histories: Sequence[Any], rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> tuple[Sequence[Hashable], NDArray[np.float64]]:
        """The histories after `labels` (P,), each behind the history of its row (P,), and the costs (P,) of the labels.
        The label `ENDS` ends the text; no history follows it."""


class NgramScorer:
    """An n-gram model: an ARPA file, or one that has been opened. `words[label]` are the words of the graph."""

    def __init__(self, source: str | Path | score.Scorer, words: Sequence[str]):
        """Raises InputError as `asr.lm.arpa.read` does, and for a model of words if the graph's are pieces, or the
        other way round."""
        self.model = source if isinstance(source, score.Scorer) else score.load(source)
        if self.model.of_pieces != are_pieces(words):
            name = "the n-gram model" if isinstance(source, score.Scorer) else source
            raise InputError(f"{name} and the graph do not have the same unit (lm.unit): words or characters")
        self.words = words

    def start(self) -> int:
        return self.model.begin

    def step(
        self, histories: Sequence[int], rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> tuple[list[int], NDArray[np.float64]]:
        pairs = zip(rows.tolist(), labels.tolist(), strict=True)
        steps = [self.model.step(histories[row], END if at == ENDS else self.words[at]) for row, at in pairs]
        return [after for after, _ in steps], -LN10 * np.array([log10_prob for _, log10_prob in steps])


def rescore(lattice: Lattice, new: WordScorer, old: WordScorer | None = None, weight: float = 1.0) -> Lattice:
    """The lattice with `weight` times the costs of `new` added to its graph costs, and those of `old` subtracted.

    Word sequences and alignments do not change; states are split where the models distinguish histories. In a graph
    whose back-off arcs are epsilon arcs, a path may cost less than the n-gram model says; this difference stays in the
    graph cost.
    """
    if old is not None:
        lattice = compose(lattice, old, -weight)
    return compose(lattice, new, weight)


def compose(
    lattice: Lattice, scorer: WordScorer, weight: float, keep: float = 1.0, per_word: float = 0.0, beam: float = inf
) -> Lattice:
    """The lattice with graph costs of `keep` times what they were, `weight` times the model's, and `per_word`.

    A state is split into one for each history of the paths to it. An arc behind a history is left out if the history
    costs so much more than the cheapest one of the state, and the old lattice's cheapest path through the arc so much
    more than its cheapest path, that both make more than `beam`. With `inf`, all word sequences stay.

    Raises InputError for a model with costs that are not finite.
    """
    if lattice.num_states == 0:
        return lattice
    sources, targets, words = (lattice.arcs[name].tolist() for name in ("from", "to", "word"))
    old = (keep * lattice.arcs["graph"].astype(np.float64) + lattice.arcs["acoustic"] + lattice.arcs["boost"]).tolist()
    beams = _Beams(lattice, beam)
    places: list[dict[Hashable, _Place]] = [{} for _ in range(lattice.num_states)]
    places[0][scorer.start()] = _Place(0, scorer.start(), 0.0)
    steps: list[tuple[int, int, int, float]] = []  # (arc, number of the place before it, of that behind it, cost added)
    ends: list[tuple[int, int, float]] = []  # (state, number of the place, cost added)
    for states in _levels(lattice):
        reached = [place for state in states for place in places[state].values()]
        onward = [arcs for state in states for arcs in beams.onward(state, list(places[state].values()))]
        rows = [row for row, arcs in enumerate(onward) for _ in arcs]
        arcs = list(chain(*onward))
        if not arcs:
            continue
        labels = np.array([words[arc] if arc >= 0 else ENDS for arc in arcs], np.int64)
        after, new = scorer.step([place.history for place in reached], np.array(rows, np.int64), labels)
        if not np.isfinite(new).all():
            raise InputError("the language model gives a word a cost that is not finite; train it again")
        for row, arc, history, cost in zip(rows, arcs, after, (weight * new).tolist(), strict=True):
            place = reached[row]
            if arc < 0:
                ends.append((-1 - arc, place.number, cost))
                continue
            known, whole = places[targets[arc]], place.cost + old[arc] + per_word + cost
            behind = known.setdefault(history, _Place(len(known), history, whole))
            if whole < behind.cost:
                behind.history, behind.cost = history, whole
            steps.append((arc, place.number, behind.number, cost + per_word))
    base = np.concatenate([[0], np.cumsum([len(known) for known in places])]).tolist()
    edges = sorted((base[sources[arc]] + a, arc, base[targets[arc]] + b, cost) for arc, a, b, cost in steps)
    return _split(lattice, edges, sorted((base[state] + number, state, cost) for state, number, cost in ends), keep)


@dataclass
class _Place:
    """A state of the lattice with a history."""

    number: int  # among those of the state
    history: Hashable
    cost: float  # of the cheapest path to it


class _Beams:
    """Where paths may go on; see `compose`."""

    def __init__(self, lattice: Lattice, beam: float):
        self._lattice, self._beam = lattice, beam + _ROUNDING
        sources, targets, costs = lattice.arcs["from"].tolist(), lattice.arcs["to"].tolist(), lattice.costs.tolist()
        to_end = lattice.to_end
        to_start = [0.0] + [inf] * (lattice.num_states - 1)
        for source, target, cost in zip(sources, targets, costs, strict=True):
            to_start[target] = min(to_start[target], to_start[source] + cost)
        columns = zip(sources, targets, costs, strict=True)
        # By how much the cheapest path through each arc, or to each end, costs more than the cheapest path of all.
        self._through = [to_start[source] + cost + to_end[target] - to_end[0] for source, target, cost in columns]
        ends = lattice.finals["state"].tolist()
        self._ending = {state: to_start[state] + float(lattice.final_costs[state]) - to_end[0] for state in ends}

    def onward(self, state: int, places: Sequence[_Place]) -> Iterator[list[int]]:
        """For each place of a state, the arcs within the beam, and -1 - state if the path may end."""
        least = min((place.cost for place in places), default=inf)
        for place in places:
            left = self._beam - (place.cost - least)
            arcs = range(self._lattice.first[state], self._lattice.first[state + 1])
            ends = [-1 - state] if state in self._ending and self._ending[state] <= left else []
            yield [arc for arc in arcs if self._through[arc] <= left] + ends


def _levels(lattice: Lattice) -> list[list[int]]:
    """The states by the number of words of the longest path to them."""
    level = [0] * lattice.num_states
    for source, target in zip(lattice.arcs["from"].tolist(), lattice.arcs["to"].tolist(), strict=True):
        level[target] = max(level[target], level[source] + 1)
    found: list[list[int]] = [[] for _ in range(max(level) + 1)]
    for state, depth in enumerate(level):
        found[depth].append(state)
    return found


def _split(lattice: Lattice, edges: list[tuple[int, int, int, float]], finals: list[tuple[int, int, float]],
           keep: float) -> Lattice:  # fmt: skip
    """The lattice of these arcs (source, arc of `lattice`, target, cost added) and ends (state, state of `lattice`,
    cost added), without the arcs that lead to no end."""
    is_live = np.zeros(1 + max([0, *(state for state, _, _ in finals), *(edge[2] for edge in edges)]), bool)
    is_live[[state for state, _, _ in finals]] = True
    for source, _, target, _ in reversed(edges):
        is_live[source] |= is_live[target]
    edges = [edge for edge in edges if is_live[edge[2]]]
    number = np.cumsum(is_live) - 1
    chosen = [arc for _, arc, _, _ in edges]
    end_of = {state: at for at, state in enumerate(lattice.finals["state"].tolist())}
    chosen_ends = [end_of[state] for _, state, _ in finals]
    arcs, ended = lattice.arcs[chosen], lattice.finals[chosen_ends]
    arcs["from"], arcs["to"] = number[[e[0] for e in edges]], number[[e[2] for e in edges]]
    ended["state"] = number[[state for state, _, _ in finals]]
    arcs["graph"] = keep * arcs["graph"].astype(np.float64) + np.array([edge[3] for edge in edges])
    ended["graph"] = keep * ended["graph"].astype(np.float64) + np.array([cost for _, _, cost in finals])
    tokens = [lattice.tokens_of(arc) for arc in (*chosen, *(lattice.num_arcs + at for at in chosen_ends))]
    token_ends = np.cumsum([len(each) for each in tokens], dtype=np.int64)
    arcs["tokens_end"], ended["tokens_end"] = token_ends[: len(arcs)], token_ends[len(arcs) :]
    joint = np.concatenate([*tokens, np.zeros(0, np.int32)]).astype(np.int32)
    return replace(lattice, num_states=int(is_live.sum()), arcs=arcs, finals=ended, tokens=joint, best=None)


def rerank(
    readings: Sequence[Reading],
    costs_of: Callable[[list[str]], Sequence[float]],
    words: Sequence[str],
    weight: float = 1.0,
) -> list[Reading]:
    """The readings with `weight` times the costs of their texts added, cheapest first.

    `costs_of` maps all texts to their costs in nats, for instance by a neural LM. Raises InputError if it does not
    return one number per text.
    """
    join = joined if are_pieces(words) else " ".join
    texts = [join(words[label] for label in reading.labels) for reading in readings]
    costs = [float(cost) for cost in costs_of(texts)]
    if len(costs) != len(texts) or any(math.isnan(cost) for cost in costs):
        raise InputError(f"costs_of returned {len(costs)} costs for {len(texts)} texts; expected one number per text")
    reranked = [
        replace(r, cost=r.cost + weight * cost, graph_cost=r.graph_cost + weight * cost)
        for r, cost in zip(readings, costs, strict=True)
    ]
    return sorted(reranked, key=lambda reading: reading.cost)
