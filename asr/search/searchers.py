"""Graph search and greedy search: log-probs -> words with the frames of their tokens.

The confidence of a word is its posterior in the lattice (asr.search.confidence). Boosts of phrases and weights of new
words are preferences of the request, not evidence: if they may have changed the lattice by more than a little, the
posteriors come from the lattice of a second search without them. Greedy search, and a graph search without a lattice,
take the geometric mean of the peak posteriors of its tokens. Both are then calibrated. With a word list or grammar (a
closed graph) an utterance may match no entry. Every word then gets the lowest confidence in the utterance multiplied by
`likeness`, so that `decoder.reject_below` rejects the utterance as a whole. A path that ends within an entry has no
words.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, islice
from typing import Protocol

import numpy as np

from asr.config import DecoderConfig
from asr.errors import InputError
from asr.graph.opened import Graph
from asr.pieces import joined, words_of
from asr.search.confidence import Calibration, confidences_by, shares_of_words, word_confidences
from asr.search.consensus import READINGS, WordArcs, confusions, least_errors
from asr.search.decoder import BestPath, Decoder
from asr.search.lattice import Lattice, Reading
from asr.search.phrases import Phrases
from asr.search.second_pass import HearingScorer, SecondPass
from asr.search.space import SearchSpace
from asr.search.token_loop import token_loop
from asr.search.word_times import Segment, divided, match_words, segments
from asr.states import States
from asr.text.units import to_text
from asr.tokens import SPACE, Tokens

NARROWER = 0.25  # share of the beam that boosts may take away without a second search
MOST_READINGS = 20  # read for each alternative text; with pieces, several readings give one text


Choices = list[tuple[str, float]]  # words, "" for none, and their posteriors, the highest first


@dataclass(frozen=True)
class FoundWord:
    word: str
    segments: list[Segment]  # one per token
    confidence: float
    has_end: bool = False  # the last segment ends where the word does (HMMs), and not where its token was heard (CTC)


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    words: list[FoundWord]
    cost: float
    complete: bool
    alternatives: list[tuple[str, float]] = field(default_factory=list)  # other texts and their costs, cheapest first
    confusion: list[Choices] = field(default_factory=list)  # before, at and after each of the W words: 2 W + 1, or none


class Searcher(Protocol):
    """Thread-safe. `log_probs` (F, V) float32. Raises InputError for phrases that the search does not support."""

    def search(self, log_probs: np.ndarray, phrases: Phrases | None = None) -> Found: ...


class GreedySearcher:
    """The most probable token of each frame, collapsed. Words end at spaces; with phones, each phone is a word.
    With pieces, words begin at `▁`. With phrases, a beam search through a loop over all tokens."""

    def __init__(self, tokens: Tokens, unit: str, calibration: Calibration | None = None, beam: float = 16.0,
                 max_active: int = 7000):  # fmt: skip
        """`beam`, `max_active`: of the search with phrases."""
        self.tokens, self.unit, self._limits = tokens, unit, (beam, max_active)
        self.between = {k for k, token in enumerate(tokens.symbols) if token == SPACE}
        self.loop = token_loop(tokens, unit)
        self.calibration = calibration or Calibration()

    @cached_property
    def decoder(self) -> Decoder:
        return Decoder(self.loop.graph, *self._limits, min_active=0)

    def search(self, log_probs: np.ndarray, phrases: Phrases | None = None) -> Found:
        if phrases is None:
            return self.found(log_probs.argmax(1), -float(log_probs.max(1).sum()), log_probs)
        path = self.decoder.decode(log_probs, phrases)
        return self.found(path.alignment, path.cost, log_probs)

    def found(self, best: np.ndarray, cost: float, log_probs: np.ndarray) -> Found:
        """The result of a search that found the tokens `best` (F,)."""
        return Found(self.words_on(best, log_probs), cost, complete=True)

    def words_on(self, best: np.ndarray, log_probs: np.ndarray) -> list[FoundWord]:
        """The words of the tokens of the frames (F,)."""
        found = segments(best, log_probs)
        if self.unit == "phone":
            groups = [[segment] for segment in found if self.tokens[segment.token] != SPACE]
        elif self.unit == "piece":
            spans = words_of([self.tokens[segment.token] for segment in found])
            groups = [found[span] for span in spans if joined(self.tokens[s.token] for s in found[span])]
        else:
            is_space = [self.tokens[s.token] == SPACE for s in found]
            groups = [
                [s for s, _ in group]
                for space, group in groupby(zip(found, is_space, strict=True), lambda pair: pair[1])
                if not space
            ]
        spelled = [to_text([self.tokens[s.token] for s in group], self.unit) for group in groups]
        confidences = self.calibration.apply([peak_confidence(group) for group in groups])
        return [FoundWord(*parts) for parts in zip(spelled, groups, confidences, strict=True)]


class GraphSearcher:
    """Beam search over a graph."""

    def __init__(
        self,
        decoder: Decoder,
        space: SearchSpace,
        tokens: Tokens,
        nbest: int = 1,
        calibration: Calibration | None = None,
        mbr: bool = False,
        confusion: bool = False,
        second: SecondPass | None = None,
        states: States | None = None,
    ):
        """`mbr`: the reading of least expected word errors instead of the cheapest. `confusion`: with the confusion
        network. `second`: ranks the readings anew, but not those of a word list or a grammar. `states`: of the HMMs; by
        default what `tokens` tell of them. Raises InputError for `mbr` or `confusion` without a lattice."""
        if (mbr or confusion) and decoder.lattice_beam is None:
            raise InputError(f"decoder.{'mbr' if mbr else 'confusion'}=true needs a lattice; set decoder.lattice_beam")
        self.decoder, self.space, self.tokens, self.nbest = decoder, space, tokens, nbest
        self.mbr, self.confusion = mbr, confusion
        self.second = None if space.is_closed else second
        self.calibration = calibration or Calibration()
        self.states = states or States.of(tokens)  # of HMMs; None for CTC
        self.units = self.states.phones if self.states else tokens  # in which words are spelled
        between = [s for s in (space.silence, SPACE) if s is not None and s in self.units]
        self.between = set(self.units.encode(between))

    def search(self, log_probs: np.ndarray, phrases: Phrases | None = None) -> Found:
        if self.decoder.lattice_beam is None:
            return self.found(self.decoder.decode(log_probs, phrases), None, log_probs, phrases)
        decoded = self.decoder.decode_lattice(log_probs, phrases)
        return self.found(decoded.path, decoded.lattice, log_probs, phrases)

    def found(
        self, path: BestPath, lattice: Lattice | None, log_probs: np.ndarray, phrases: Phrases | None = None
    ) -> Found:
        """The result of a search that gave this path and lattice for log-probs (F, V)."""
        if self.space.is_closed and not path.complete:
            return Found([], path.cost, complete=False)  # the words so far do not make an entry
        is_changed = lattice is not None and self._is_changed(lattice, phrases)
        if self.second and lattice is not None and path.complete:
            lattice = self.second.apply(lattice, self.space)
            path = _path_of(lattice.nbest(1)[0])
        if self.mbr and lattice is not None and path.complete:
            least = least_errors(lattice, self._split if self.space.of_pieces else None)
            path = _path_of(least)
        words, groups = self.words_on(path, log_probs)
        evidence = self._plain_lattice(log_probs) if is_changed else lattice
        if lattice is None or evidence is None:
            confidences = [peak_confidence(group) for group in groups]
        else:
            confidences = self._posteriors(evidence, lattice, path.labels, words)
        confidences = self.calibration.apply(confidences)
        if self.space.is_closed and confidences:
            confidences = [min(confidences) * likeness(log_probs, path.alignment, self.states)] * len(confidences)
        has_ends = self.states is not None
        placed = [FoundWord(*parts, has_ends) for parts in zip(words, groups, confidences, strict=False)]
        confusion = self._confusion(evidence, [word.word for word in placed]) if evidence and self.confusion else []
        return Found(placed, path.cost, path.complete, self._alternatives(lattice, path.labels), confusion)

    def heard(self, samples: np.ndarray) -> "GraphSearcher":
        """The search of a recording (T,), whose sound the second pass may need."""
        if self.second is None or (second := self.second.heard(samples)) is self.second:
            return self
        other = copy.copy(self)
        other.second = second
        return other

    def words_on(self, path: BestPath, log_probs: np.ndarray) -> tuple[list[str], list[list[Segment]]]:
        """The words of a path and their segments."""
        words = [self.space.words[label] for label in path.labels]
        found = segments(path.alignment, log_probs, self.states)
        spellings = [self.space.spellings(label, self.units) for label in path.labels]
        phones = [s.token for s in found]
        most = None
        if self.states and found:
            most = self.states.most_phones(path.alignment[[s.start for s in found]], [s.end - s.start for s in found])
        groups = divided(found, match_words(phones, spellings, self.between, path.complete, most))
        if self.space.of_pieces:
            return join_pieces(words[: len(groups)], groups, self.between)
        return words, groups

    def _is_changed(self, lattice: Lattice, phrases: Phrases | None) -> bool:
        """Whether preferences may have changed the lattice. Small boosts of phrases that are only begun on its paths
        have not: they are given back, and until then the beam is narrower by less than `NARROWER` of it."""
        if self.space.weights:
            return True
        if phrases is None or not (phrases.suppress or lattice.has_boosts):
            return False
        is_narrow = (
            lattice.beam < (self.decoder.lattice_beam or 0.0) - 1e-3 or phrases.largest > NARROWER * self.decoder.beam
        )
        return phrases.suppress or is_narrow or lattice.has_preferred

    def _plain_lattice(self, log_probs: np.ndarray) -> Lattice:
        """That of a search without preferences, which the posteriors are of."""
        plain = self._plain.decode_lattice(log_probs).lattice
        return self.second.apply(plain, self.space) if self.second and plain.complete else plain

    def _posteriors(self, evidence: Lattice, lattice: Lattice, labels: list[int], words: list[str]) -> list[float]:
        if self.space.of_pieces:
            return shares_of_words(evidence, words, self.space.text)
        if evidence is not lattice:
            bonus = sum(self.space.weights.get(label, 0.0) for label in labels)
            found = confidences_by(evidence, lattice, labels, bonus * (self.second.kept if self.second else 1.0))
        else:
            found = word_confidences(lattice, labels)
        assert found is not None  # the lattice holds the best path
        return found

    @cached_property
    def _plain(self) -> Decoder:
        """The search without the weights of new words."""
        return self.decoder.over(self.space.plain) if self.space.weights else self.decoder

    def _split(self, labels: list[int]) -> list[str]:
        return self.space.text(labels).split()

    def _confusion(self, evidence: Lattice, words: list[str]) -> list[Choices]:
        """The choices at each gap and word of the result."""
        if self.space.of_pieces:
            readings = evidence.unboosted.nbest(READINGS)
            arcs = WordArcs.of_readings(readings, [self._split(reading.labels) for reading in readings])
        else:
            arcs = WordArcs.of_lattice(evidence, [self.space.words[label] for label in evidence.arcs["word"]])
        found = [dict(shares) for shares in confusions(arcs, words).shares]
        for shares, word in zip(found[1::2], words, strict=True):
            shares.setdefault(word, 0.0)  # it may be there for its boost alone
        for shares in found:
            shares[""] = max(0.0, 1.0 - sum(shares.values()))
        return [sorted(shares.items(), key=lambda choice: -choice[1]) for shares in found]

    def _alternatives(self, lattice: Lattice | None, best: list[int]) -> list[tuple[str, float]]:
        if lattice is None or self.nbest < 2:
            return []
        costs: dict[str, float] = {self.space.text(best): 0.0}  # of several readings of a text, the cheapest counts
        for reading in islice(lattice.readings(), MOST_READINGS * self.nbest):
            costs.setdefault(self.space.text(reading.labels), reading.cost)
            if len(costs) == self.nbest:
                break
        return list(costs.items())[1:]


def needs_sound(searcher: Searcher) -> bool:
    """Whether a second pass ranks readings by a model of texts given their sound."""
    second = searcher.second if isinstance(searcher, GraphSearcher) else None
    return second is not None and isinstance(second.scorer, HearingScorer)


def _path_of(reading: Reading) -> BestPath:
    return BestPath(reading.labels, [], reading.alignment, reading.cost, True)


def join_pieces(
    pieces: Sequence[str], groups: Sequence[list[Segment]], between: set[int]
) -> tuple[list[str], list[list[Segment]]]:
    """Words and their segments from pieces and theirs; the tokens `between` words are left out."""
    words, joined_groups = [], []
    for span in words_of(pieces):
        heard = [segment for group in groups[span] for segment in group if segment.token not in between]
        if heard and (text := joined(pieces[span])):
            words.append(text)
            joined_groups.append(heard)
    return words, joined_groups


def peak_confidence(group: Sequence[Segment]) -> float:
    """The geometric mean of the peak posteriors of the tokens."""
    return min(1.0, math.exp(sum(s.log_prob for s in group) / len(group)))


def likeness(log_probs: np.ndarray, alignment: np.ndarray, states: States | None = None) -> float:
    """How well a path matches the audio, in (0, 1]: the ratio of its probability to that of the most probable tokens,
    as a geometric mean per token of the path, or per phone with `states`. 1 if the path consists of the most probable
    ones.

    The most probable tokens are what a free loop over all tokens, the usual filler or garbage model, would find.
    """
    frames = np.arange(len(log_probs))
    lost = float((log_probs.max(1) - log_probs[frames, alignment]).sum())
    return math.exp(-lost / max(1, len(segments(alignment, log_probs, states))))


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
