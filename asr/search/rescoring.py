"""Rescoring: a lattice with another n-gram model, by composition, or an n-best list with any function.

with_new = rescore(lattice, NgramScorer("big.arpa", words), old=NgramScorer("small.arpa", words))
best = with_new.nbest(1)[0]

readings = rerank(lattice.nbest(100), lambda texts: neural_costs(texts), words, weight=0.5)
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from asr.errors import InputError
from asr.lm import score
from asr.lm.model import LN10
from asr.pieces import are_pieces, joined
from asr.search.lattice import ARC, FINAL, Lattice, Reading
from asr.words import END


class WordScorer(Protocol):
    """A language model that is evaluated word by word. Equal states have equal futures; costs are in nats."""

    def start(self) -> Hashable: ...
    def step(self, state: Hashable, label: int) -> tuple[Hashable, float]: ...
    def finish(self, state: Hashable) -> float: ...


class NgramScorer:
    """An n-gram model in an ARPA file. `words[label]` are the words of the graph."""

    def __init__(self, path: str | Path, words: Sequence[str]):
        """Raises InputError as `asr.lm.arpa.read` does, and for a model of words if the graph's are pieces, or the
        other way round."""
        self.model = score.load(path)
        if self.model.of_pieces != are_pieces(words):
            raise InputError(f"{path} and the graph do not have the same unit (lm.unit): words or characters")
        self.words = words

    def start(self) -> int:
        return self.model.begin

    def step(self, state: int, label: int) -> tuple[int, float]:
        following, log10_prob = self.model.step(state, self.words[label])
        return following, -LN10 * log10_prob

    def finish(self, state: int) -> float:
        return -LN10 * self.model.step(state, END)[1]


def rescore(lattice: Lattice, new: WordScorer, old: WordScorer | None = None, weight: float = 1.0) -> Lattice:
    """The lattice with `weight` times the costs of `new` added to its graph costs, and those of `old` subtracted.

    Word sequences and alignments do not change; states are split where the models distinguish histories. In a graph
    whose back-off arcs are epsilon arcs, a path may cost less than the n-gram model says; this difference stays in the
    graph cost.
    """
    if old is not None:
        lattice = compose(lattice, old, -weight)
    return compose(lattice, new, weight)


def compose(lattice: Lattice, scorer: WordScorer, weight: float) -> Lattice:
    """The lattice with `weight` times the model's costs added to its graph costs."""
    if lattice.num_states == 0:
        return lattice
    contexts: list[dict[Hashable, int]] = [{} for _ in range(lattice.num_states)]  # model state -> number
    contexts[0][scorer.start()] = 0
    added: list[tuple[int, int, int, int, float]] = []  # (lattice arc, state, target, the model's state, cost)
    for state in range(lattice.num_states):
        for number, context in enumerate(contexts[state]):
            for arc in range(lattice.first[state], lattice.first[state + 1]):
                after, cost = scorer.step(context, int(lattice.arcs["word"][arc]))
                target = int(lattice.arcs["to"][arc])
                place = contexts[target].setdefault(after, len(contexts[target]))
                added.append((arc, state, number, place, weight * cost))
    return _split(lattice, contexts, added, [[weight * scorer.finish(c) for c in known] for known in contexts])


def _split(lattice: Lattice, contexts: list[dict[Hashable, int]], added: list[tuple[int, int, int, int, float]],
           finishing: list[list[float]]) -> Lattice:  # fmt: skip
    """The lattice whose states are pairs (state of `lattice`, state of the model)."""
    base = np.concatenate([[0], np.cumsum([len(known) for known in contexts])])
    arcs = np.zeros(len(added), ARC)
    tokens: list[np.ndarray] = []
    for record, (arc, state, number, place, cost) in zip(arcs, added, strict=True):
        old = lattice.arcs[arc]
        record["from"], record["to"], record["word"] = base[state] + number, base[old["to"]] + place, old["word"]
        record["graph"], record["acoustic"], record["boost"] = old["graph"] + cost, old["acoustic"], old["boost"]
        tokens.append(lattice.tokens_of(arc))
    finals = []
    for end, old in enumerate(lattice.finals):
        for number, cost in enumerate(finishing[old["state"]]):
            finals.append((base[old["state"]] + number, old["graph"] + cost, old["acoustic"], old["boost"], 0))
            tokens.append(lattice.tokens_of(lattice.num_arcs + end))
    ends = np.cumsum([len(t) for t in tokens])
    arcs["tokens_end"] = ends[: len(arcs)]
    ended = np.array(finals, FINAL)
    ended["tokens_end"] = ends[len(arcs) :]
    return Lattice(
        int(base[-1]),
        arcs,
        ended,
        np.concatenate([*tokens, np.zeros(0, np.int32)]).astype(np.int32),
        lattice.frames,
        lattice.num_frames,
        lattice.beam,
        lattice.complete,
    )


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
