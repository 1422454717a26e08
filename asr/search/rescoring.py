"""A better opinion on a lattice's words: another n-gram by composition, or any callable on an n-best list.

with_new = rescore(lattice, NgramScorer("big.arpa", words), old=NgramScorer("small.arpa", words))
best = with_new.nbest(1)[0]

readings = rerank(lattice.nbest(100), lambda texts: neural_costs(texts), words, weight=0.5)
"""

import math
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Protocol

import kenlm
import numpy as np

from asr.errors import InputError
from asr.lm.model import LN10
from asr.search.lattice import ARC, FINAL, Lattice, Reading
from asr.words import END


class WordScorer(Protocol):
    """A language model walked word by word. States are equal where the future is; costs in nats."""

    def start(self) -> Hashable: ...
    def step(self, state: Hashable, label: int) -> tuple[Hashable, float]: ...
    def finish(self, state: Hashable) -> float: ...


class NgramScorer:
    """An ARPA or KenLM binary file over the words of a graph (`words[label]`)."""

    def __init__(self, path: str | Path, words: Sequence[str]):
        """Raises InputError when kenlm cannot read the file."""
        try:
            self.model = kenlm.Model(str(path))
        except (OSError, RuntimeError) as e:
            raise InputError(f"kenlm cannot read the language model {path}: {e}") from None
        self.words = words

    def start(self) -> Hashable:
        state = kenlm.State()
        self.model.BeginSentenceWrite(state)
        return state

    def step(self, state: Hashable, label: int) -> tuple[Hashable, float]:
        return self._score(state, self.words[label])

    def finish(self, state: Hashable) -> float:
        return self._score(state, END)[1]

    def _score(self, state: Hashable, word: str) -> tuple[Hashable, float]:
        following = kenlm.State()
        return following, -LN10 * self.model.BaseScore(state, word, following)


def rescore(lattice: Lattice, new: WordScorer, old: WordScorer | None = None, weight: float = 1.0) -> Lattice:
    """The lattice with the costs of `new`, times `weight`, in its graph costs; those of `old` taken off.

    Paths and alignments stay; states are parted where the models remember different words. Of a graph that backs off
    by epsilon arcs a path may have been cheaper than its n-gram says; that difference stays in the graph cost.
    """
    if old is not None:
        lattice = compose(lattice, old, -weight)
    return compose(lattice, new, weight)


def compose(lattice: Lattice, scorer: WordScorer, weight: float) -> Lattice:
    """The lattice with `weight` times the model's costs added."""
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
    return _parted(lattice, contexts, added, [[weight * scorer.finish(c) for c in known] for known in contexts])


def _parted(lattice: Lattice, contexts: list[dict[Hashable, int]], added: list[tuple[int, int, int, int, float]],
            finishing: list[list[float]]) -> Lattice:  # fmt: skip
    """The lattice whose states are pairs of the old one's and their contexts."""
    base = np.concatenate([[0], np.cumsum([len(known) for known in contexts])])
    arcs = np.zeros(len(added), ARC)
    tokens: list[np.ndarray] = []
    for record, (arc, state, number, place, cost) in zip(arcs, added, strict=True):
        old = lattice.arcs[arc]
        record["from"], record["to"], record["word"] = base[state] + number, base[old["to"]] + place, old["word"]
        record["graph"], record["acoustic"] = old["graph"] + cost, old["acoustic"]
        tokens.append(lattice.tokens_of(arc))
    finals = []
    for end, old in enumerate(lattice.finals):
        for number, cost in enumerate(finishing[old["state"]]):
            finals.append((base[old["state"]] + number, old["graph"] + cost, old["acoustic"], 0))
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
    """The readings with `weight` times the cost of their texts (nats, such as a neural LM's) added, cheapest first.

    `costs_of` gets all texts at once. Raises InputError when it does not give a number for each.
    """
    texts = [" ".join(words[label] for label in reading.labels) for reading in readings]
    costs = [float(cost) for cost in costs_of(texts)]
    if len(costs) != len(texts) or any(math.isnan(cost) for cost in costs):
        raise InputError(f"the callable gave {len(costs)} costs for {len(texts)} texts; one number each is needed")
    scored = [
        Reading(r.labels, r.cost + weight * cost, r.graph_cost + weight * cost, r.acoustic_cost, alignment=r.alignment)
        for r, cost in zip(readings, costs, strict=True)
    ]
    return sorted(scored, key=lambda reading: reading.cost)
