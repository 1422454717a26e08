"""The two searches: through a compiled graph, and greedy. Both turn log-probs into words with their tokens' places.

Confidence of a word: in the graph search the posterior that the lattice gives it (asr.confidence); greedy, or without a
lattice, the geometric mean, over its tokens, of the highest posterior of each. Both are then calibrated. A closed graph
may hold nothing of what is said: there all words have the least of their confidences, times the path's likeness to what
was heard, so that `decoder.reject_below` refuses the whole; a path that is no whole entry has no words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np

from asr.bias import Bias
from asr.confidence import Calibration, word_confidences
from asr.config import DecoderConfig
from asr.errors import InputError
from asr.lattice import Lattice
from asr.search import Decoder, Graph
from asr.tables import GraphTables
from asr.text.units import to_text
from asr.tokens import SPACE, Tokens
from asr.word_times import Segment, match_words, segments


@dataclass(frozen=True)
class FoundWord:
    word: str
    segments: list[Segment]  # of its tokens
    confidence: float


@dataclass(frozen=True)
class Found:
    """What a search found."""

    words: list[FoundWord]
    cost: float
    complete: bool
    alternatives: list[tuple[str, float]] = field(default_factory=list)  # other texts and their costs, cheapest first


class Searcher(Protocol):
    """Thread-safe. `log_probs` (F, V) float32. Raises InputError for a bias that it cannot follow."""

    def search(self, log_probs: np.ndarray, bias: Bias | None = None) -> Found: ...


class GreedySearcher:
    """The likeliest token of each frame, collapsed. Words fall apart at spaces; each phone is a word of its own."""

    def __init__(self, tokens: Tokens, unit: str, calibration: Calibration | None = None):
        self.tokens, self.unit = tokens, unit
        self.calibration = calibration or Calibration()

    def search(self, log_probs: np.ndarray, bias: Bias | None = None) -> Found:
        if bias is not None:
            raise InputError("greedy search cannot favour phrases; use decoder.kind=graph")
        found = segments(log_probs.argmax(1), log_probs)
        if self.unit == "phone":
            groups = [[segment] for segment in found]
        else:
            is_space = [self.tokens[s.token] == SPACE for s in found]
            groups = [
                [s for s, _ in group]
                for space, group in groupby(zip(found, is_space, strict=True), lambda pair: pair[1])
                if not space
            ]
        spelled = [to_text([self.tokens[s.token] for s in group], self.unit) for group in groups]
        confidences = self.calibration.apply([peak_confidence(group) for group in groups])
        words = [FoundWord(*parts) for parts in zip(spelled, groups, confidences, strict=True)]
        return Found(words, cost=-float(log_probs.max(1).sum()), complete=True)


class GraphSearcher:
    """Beam search over a graph."""

    def __init__(
        self,
        decoder: Decoder,
        tables: GraphTables,
        tokens: Tokens,
        nbest: int = 1,
        calibration: Calibration | None = None,
    ):
        self.decoder, self.tables, self.tokens, self.nbest = decoder, tables, tokens, nbest
        self.calibration = calibration or Calibration()
        between = [s for s in (tables.silence, SPACE) if s is not None and s in tokens]
        self.between = set(tokens.encode(between))

    def search(self, log_probs: np.ndarray, bias: Bias | None = None) -> Found:
        lattice: Lattice | None = None
        if self.decoder.lattice_beam is None:
            path = self.decoder.decode(log_probs, bias)
        else:
            decoded = self.decoder.decode_lattice(log_probs, bias)
            path, lattice = decoded.path, decoded.lattice
        if self.tables.is_closed and not path.complete:
            return Found([], path.cost, complete=False)  # the words so far are no entry of the list
        words = [self.tables.words[label] for label in path.labels]
        found = segments(path.alignment, log_probs)
        spellings = [self.tables.spellings(label, self.tokens) for label in path.labels]
        spans = match_words([s.token for s in found], spellings, self.between, path.complete)
        groups = [[found[i] for i in span] for span in spans]
        confidences = word_confidences(lattice, path.labels) if lattice else None
        confidences = confidences or [peak_confidence(group) for group in groups]
        confidences = self.calibration.apply(confidences)
        if self.tables.is_closed and confidences:
            confidences = [min(confidences) * likeness(log_probs, path.alignment)] * len(confidences)
        placed = [FoundWord(*parts) for parts in zip(words, groups, confidences, strict=False)]
        return Found(placed, path.cost, path.complete, self._alternatives(lattice, path.labels))

    def _alternatives(self, lattice: Lattice | None, best: list[int]) -> list[tuple[str, float]]:
        if lattice is None or self.nbest < 2:
            return []
        others = [r for r in lattice.nbest(self.nbest) if r.labels != best]
        return [(" ".join(self.tables.words[label] for label in r.labels), r.cost) for r in others[: self.nbest - 1]]


def peak_confidence(group: Sequence[Segment]) -> float:
    """Geometric mean of the highest posterior of each token."""
    return min(1.0, math.exp(sum(s.log_prob for s in group) / len(group)))


def likeness(log_probs: np.ndarray, alignment: np.ndarray) -> float:
    """How much a path sounds like what was said: its probability beside that of the likeliest tokens, whatever they
    spell, per token of the path (geometric mean). 1 where it is the likeliest itself.

    The likeliest tokens are what a loop over all of them, the usual filler or garbage model, would find.
    """
    frames = np.arange(len(log_probs))
    lost = float((log_probs.max(1) - log_probs[frames, alignment]).sum())
    return math.exp(-lost / max(1, len(segments(alignment, log_probs))))


def make_decoder(graph: Graph, cfg: DecoderConfig) -> Decoder:
    return Decoder(
        graph,
        beam=cfg.beam,
        max_active=cfg.max_active,
        min_active=cfg.min_active,
        blank_skip=cfg.blank_skip,
        acoustic_scale=cfg.acoustic_scale,
        word_penalty=cfg.word_penalty,
        blank_penalty=cfg.blank_penalty,
        lattice_beam=None if cfg.lattice_beam is None else min(cfg.lattice_beam, cfg.beam),
    )
