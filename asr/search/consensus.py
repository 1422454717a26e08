"""Confusion networks, and the words of least expected errors: all readings of a lattice, aligned with one text.

    arcs = WordArcs.of_lattice(lattice, lattice.arcs["word"].tolist())
    consensus(arcs, [labels])        # the words of least expected errors, beginning the search at `labels`
    confusions(arcs, labels).shares  # for each gap and word of `labels`, the words that stand there and their shares

The alignment is that of Xu et al., "Minimum Bayes Risk decoding and system combination based on a recursion for edit
distance" (2011). The edit distance between the text and the first words of a path is averaged over all paths to a
state; each arc then takes one step of the alignment for all of these paths. The expected number of errors that this
gives is never below the exact one.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import exp
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from asr.search.lattice import Lattice, Reading

W = TypeVar("W", bound=Hashable)  # a word: a label or a text. A false one, 0 or "", stands for no word.
READINGS = 200  # of a lattice; the mass of others is small
_ROUNDING = 1e-9  # costs and shares that differ by less are equal
_STARTS = 5  # readings from which `least_errors` begins


@dataclass(frozen=True)
class WordArcs(Generic[W]):
    """The arcs of a lattice of words, sorted by source. They lead to higher states; paths begin in state 0."""

    num_states: int
    sources: NDArray[np.integer]  # (A,)
    targets: NDArray[np.integer]  # (A,)
    words: Sequence[W]  # A
    posteriors: NDArray[np.float64]  # (A,)

    @classmethod
    def of_lattice(cls, lattice: Lattice, words: Sequence[W], boosts: bool = False) -> "WordArcs[W]":
        """`words`: of each arc. `boosts`: whether the boosts of phrases count."""
        posteriors = lattice.posteriors(boosts=boosts)
        return cls(lattice.num_states, lattice.arcs["from"], lattice.arcs["to"], words, posteriors)

    @classmethod
    def of_readings(cls, readings: Sequence[Reading], texts: Sequence[Sequence[W]]) -> "WordArcs[W]":
        """The texts of readings, as a tree."""
        least = min((reading.cost for reading in readings), default=0.0)
        children: dict[tuple[int, W], int] = {}
        masses = [0.0]
        for reading, words in zip(readings, texts, strict=True):
            path = [0]
            for word in words:
                path.append(children.setdefault((path[-1], word), len(masses)))
                masses += [0.0] * (path[-1] == len(masses))
            for state in path:
                masses[state] += exp(least - reading.cost)
        edges = sorted((source, target, word) for (source, word), target in children.items())
        sources, targets = (np.array([edge[k] for edge in edges], np.int64) for k in (0, 1))
        posteriors = np.array(masses)[targets] / max(masses[0], 1e-300)
        return cls(len(masses), sources, targets, [edge[2] for edge in edges], posteriors)


@dataclass(frozen=True)
class Alignment(Generic[W]):
    """All paths, aligned with a text of L words, some of which may be no word."""

    shares: list[dict[W, float]]  # for each of the L: the share of paths that have a word there, by word
    errors: float  # expected word errors of the text: substitutions, deletions, insertions


def align(arcs: WordArcs[W], text: Sequence[W]) -> Alignment[W]:
    """Align all paths with `text`. Where it has no word, a path may have one at the cost of an error."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(chain(text, arcs.words)))}
    words = np.array([numbers[word] for word in text], np.int64)
    of_arcs = [numbers[word] for word in arcs.words]
    places = np.append(0.0, np.cumsum([bool(word) for word in text]))  # errors if a path has none of the words
    sources, targets, posteriors = arcs.sources, arcs.targets, arcs.posteriors
    reached = np.bincount(targets, posteriors, arcs.num_states)  # the share of paths through each state
    reached[:1] = 1.0
    weights = posteriors / np.maximum(reached[targets], 1e-300)
    distances = np.zeros((arcs.num_states, len(places)))
    distances[:1] = places

    def step(arc: int) -> tuple[NDArray, NDArray, NDArray]:
        """Distances after the arc: of its word in place of the q-th, of one word more, and of the best choice."""
        before = distances[sources[arc]]
        instead = np.append(np.inf, before[:-1] + (words != of_arcs[arc]))
        best = np.minimum(instead, before + 1)
        return instead, before + 1, np.minimum.accumulate(best - places) + places

    for arc in range(len(sources)):
        distances[targets[arc]] += weights[arc] * step(arc)[2]
    ends = np.maximum(0.0, reached - np.bincount(sources, posteriors, arcs.num_states))  # share of paths that end here
    shares: list[dict[W, float]] = [{} for _ in text]
    mass = np.zeros(distances.shape)  # of the paths that are aligned with q words
    mass[:, -1] = ends
    for arc in range(len(sources) - 1, -1, -1):
        source, here, word = sources[arc], weights[arc] * mass[targets[arc]], arcs.words[arc]
        instead, more, best = step(arc)
        for q in range(len(text), -1, -1):
            if here[q] == 0:
                continue
            if min(instead[q], more[q]) > best[q] + _ROUNDING:
                here[q - 1] += here[q]  # the arc has no word for the q-th
            elif instead[q] <= more[q] + _ROUNDING:
                mass[source, q - 1] += here[q]
                shares[q - 1][word] = shares[q - 1].get(word, 0.0) + float(here[q])
            else:
                mass[source, q] += here[q]
    return Alignment(shares, float(ends @ distances[:, -1]))


def confusions(arcs: WordArcs[W], text: Sequence[W]) -> Alignment[W]:
    """The alignment with a gap before, between and after the words: 2 W + 1 shares for the W words of `text`."""
    return align(arcs, _with_gaps(text))


def consensus(arcs: WordArcs[W], starts: Iterable[Sequence[W]]) -> list[W]:
    """The text of least expected errors that is reached from one of `starts`.

    Each round aligns the paths with a text, and takes at each word and gap what most paths have there.
    """
    errors: dict[tuple[W, ...], float] = {}
    for start in starts:
        text = tuple(start)
        while text not in errors:
            found = confusions(arcs, text)
            errors[text] = found.errors
            chosen = (_most(share, old) for share, old in zip(found.shares, _with_gaps(text), strict=True))
            text = tuple(word for word in chosen if word is not None)
    best = min(errors, key=errors.__getitem__)
    return list(best)


def least_errors(lattice: Lattice, split: Callable[[list[int]], list[str]] | None = None) -> Reading:
    """The reading of least expected word errors of a lattice that has readings. Boosts count.

    It is the one nearest to the consensus, if its expected errors are below those of the best reading. `split`: the
    words of a reading's labels, where a word consists of several; only the cheapest `READINGS` count then.
    """
    if split is None:
        best = lattice.nbest(_STARTS)
        arcs = WordArcs.of_lattice(lattice, lattice.arcs["word"].tolist(), boosts=True)
        found = lattice.nearest(consensus(arcs, [reading.labels for reading in best]))
        return min((best[0], found), key=lambda reading: align(arcs, reading.labels).errors)
    readings = lattice.nbest(READINGS)
    texts = [split(reading.labels) for reading in readings]
    tree = WordArcs.of_readings(readings, texts)
    words = consensus(tree, texts[:_STARTS])
    at = min(range(len(texts)), key=lambda k: Levenshtein.distance(words, texts[k]))
    return readings[min(0, at, key=lambda k: align(tree, texts[k]).errors)]


def _with_gaps(text: Sequence[W]) -> list[W]:
    gap = _no_word(text)
    return [gap, *chain.from_iterable((word, gap) for word in text)]


def _no_word(text: Sequence[W]) -> W:
    return type(text[0])() if text else ""  # type: ignore[return-value]


def _most(shares: dict[W, float], old: W) -> W | None:
    """The word of the largest share, None for no word; the old one if another is not larger."""
    none = 1.0 - sum(shares.values())
    word = max(shares, key=shares.__getitem__, default=None)
    highest = none if word is None else max(none, shares[word])
    if (shares.get(old, 0.0) if old else none) >= highest - _ROUNDING:
        return old or None
    return None if word is None or none >= shares[word] else word
