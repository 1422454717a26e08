"""Text and log-probs of one utterance -> words and tokens with times and scores."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from asr.align.alignment import LEAST_EXTRA_TOKENS, AlignedToken, AlignedWord, Alignment, remarks_on
from asr.align.changes import Changes
from asr.align.network import GARBAGE, Network, Slot, Spelling
from asr.align.pronouncing import Pronouncing
from asr.align.times import LEAD_S, TAIL_S, Clock, Edges, Span, Timed
from asr.align.trellis import best_path
from asr.errors import InputError
from asr.recognizer.recognizer import Recognizer
from asr.search.searchers import peak_confidence
from asr.search.word_times import Segment
from asr.text.lexicon import name_some
from asr.tokens import BLANK_ID, SPACE

GARBAGE_COST = 0.5  # nats for each frame of a word without a pronunciation, against the most probable output


class Aligner:
    """Aligns utterances of one recogniser. `fillers` may be heard between any two words, at `filler_cost` each."""

    def __init__(
        self,
        recognizer: Recognizer,
        pronouncing: Pronouncing,
        fillers: Sequence[str] = (),
        filler_cost: float = 0.0,
        silence: str | None = None,
        edges_s: tuple[float, float] = (LEAD_S, TAIL_S),
    ):
        """`silence`: the token of silence; None: that of the recogniser's graph. `edges_s`: lead and tail of `Edges`.

        Raises InputError if there is no such token, and for fillers without a pronunciation.
        """
        tokens, graph = recognizer.tokens, recognizer.cfg.graph
        silence = silence or (recognizer.space.silence if recognizer.space else graph.silence)
        if silence and silence not in tokens:
            raise InputError(f"graph.silence={silence} is not a token of the model; it has "
                             f"{name_some(tokens.symbols[1:])}")  # fmt: skip
        if unknown := pronouncing.learn(fillers):
            raise InputError(f"fillers without a pronunciation: {name_some(unknown)}; add them to the lexicon")
        self.tokens, self.pronouncing = tokens, pronouncing
        self.clock, self.edges_s = Clock.of(recognizer), edges_s
        self.gaps = [BLANK_ID, *tokens.encode(name for name in (SPACE, silence) if name and name in tokens)]
        spelled = [(filler, spelling) for filler in fillers for spelling in pronouncing.spellings(filler)]
        self.fillers = [filler for filler, _ in spelled]  # of each spelling
        self.filler = Slot("", [Spelling(s.tokens, s.cost + filler_cost) for _, s in spelled], is_optional=True)

    def align(
        self, id: str, text: str, log_probs: np.ndarray, duration_s: float, changes: Changes | None = None
    ) -> Alignment:
        """The best alignment of all spellings of the text with the log-probs (F, V) of `duration_s` seconds.

        `changes` of the sound, if there is any, make the times more exact.

        Raises InputError if the log-probs contain NaN, or if there are too few frames for the text.
        """
        if np.isnan(log_probs).any():
            raise InputError("its log-probs contain NaN: the model may have diverged")
        words = text.split()
        self.pronouncing.learn(words)
        network = Network(self._slots(words))
        path = best_path(network, emissions(log_probs, self.gaps, GARBAGE_COST))
        if path is None:
            raise InputError(f"it is too short for its text: {len(log_probs)} frames, {len(words)} words")
        reading = Reading(self, network, path, log_probs, self.clock, duration_s, changes)
        found = [word for _, word in reading.words()]
        score = round(likeness(network, path, log_probs, self.gaps), 4)
        return Alignment(id, duration_s, found, score, remarks_on(found, list(reading.extra())))

    def _slots(self, words: Sequence[str]) -> list[Slot]:
        slots = [Slot(word, self.pronouncing.spellings(word)) for word in words]
        if not self.fillers:
            return slots
        return [self.filler, *(part for slot in slots for part in (slot, self.filler))]


@dataclass(frozen=True)
class Reading:
    """A path (F,) through a network, with what it takes to tell its words and their times."""

    aligner: Aligner
    network: Network
    path: np.ndarray
    log_probs: np.ndarray  # (F, V)
    clock: Timed
    duration_s: float
    changes: Changes | None

    def words(self) -> Iterator[tuple[int, AlignedWord]]:
        """The slot of each word on the path, and the word with its times."""
        heard = list(spoken(self.network, self.path, self.log_probs))
        edges = Edges.of([part for _, _, part in heard], self.clock, self.duration_s, *self.aligner.edges_s,
                         self.changes)  # fmt: skip
        for (slot, spelling, segments), inner in zip(heard, edges.tokens, strict=True):
            start_s, end_s = inner[0][0], inner[-1][1]
            is_filler = self.network.slots[slot].is_optional
            word = self.aligner.fillers[spelling] if is_filler else self.network.slots[slot].word
            if segments[0].token == GARBAGE:
                yield slot, AlignedWord(word, start_s, end_s, 0.0, [], is_unknown=True)
                continue
            tokens = [
                AlignedToken(self.aligner.tokens[s.token], *times, round(min(1.0, math.exp(s.log_prob)), 4))
                for s, times in zip(segments, inner, strict=True)
            ]
            yield slot, AlignedWord(word, start_s, end_s, round(peak_confidence(segments), 4), tokens, is_filler)

    def extra(self) -> Iterator[Span]:
        """The times of speech in gaps: from the first to the last token that the net hears there."""
        best = self.log_probs.argmax(1)
        is_gap = np.isin(self.path, self.network.gaps)
        is_speech = is_gap & ~np.isin(best, self.aligner.gaps)
        changes = np.flatnonzero(np.diff(is_gap, prepend=False, append=False))
        for start, end in changes.reshape(-1, 2):
            inside = start + np.flatnonzero(is_speech[start:end])
            if (np.diff(best[start:end], prepend=-1) != 0)[is_speech[start:end]].sum() >= LEAST_EXTRA_TOKENS:
                first, last = int(inside[0]), int(inside[-1])
                yield self.clock.time_s(first, self.duration_s), self.clock.time_s(last + 1, self.duration_s)


def emissions(
    log_probs: np.ndarray, gaps: Sequence[int], garbage_cost: float, skip_cost: float = math.inf
) -> np.ndarray:
    """The scores (F, V + 2) of the net's outputs, of a gap and of garbage, relative to the best output of each frame.

    A gap is the best of the outputs `gaps`, or any sound at `skip_cost` a frame; garbage is any sound at its cost.
    """
    scores = np.empty((len(log_probs), log_probs.shape[1] + 2), np.float32)
    np.subtract(log_probs, log_probs.max(1, keepdims=True), out=scores[:, :-2])
    scores[:, -2] = np.maximum(scores[:, gaps].max(1), -skip_cost)
    scores[:, -1] = -garbage_cost
    return scores


def spoken(network: Network, path: np.ndarray, log_probs: np.ndarray) -> Iterator[tuple[int, int, list[Segment]]]:
    """The slot, the spelling and the segments of each word on a path (F,) of states."""
    edges = np.flatnonzero(np.diff(path)) + 1
    bounds = [0, *edges.tolist(), len(path)]
    parts = [(int(path[start]), start, end) for start, end in zip(bounds, bounds[1:], strict=False)]
    heard = [part for part in parts if network.place[part[0]] >= 0]
    for slot, group in groupby(heard, key=lambda part: int(network.slot[part[0]])):
        states = list(group)
        segments = [_segment(int(network.token[state]), start, end, log_probs) for state, start, end in states]
        yield slot, int(network.spelling[states[0][0]]), segments


def _segment(token: int, start: int, end: int, log_probs: np.ndarray) -> Segment:
    peak = 0.0 if token == GARBAGE else float(log_probs[start:end, token].max())
    return Segment(token, start, end, peak)


def likeness(network: Network, path: np.ndarray, log_probs: np.ndarray, gaps: Sequence[int]) -> float:
    """How well a path fits the sound, in (0, 1]: the ratio of its probability to that of the most probable outputs, as
    a geometric mean per token. Words without a pronunciation cost nothing; 1 without any token."""
    scores = emissions(log_probs, gaps, 0.0)
    lost = -float(scores[np.arange(len(path)), network.token[path]].sum(dtype=np.float64))
    tokens = int((np.diff(path, prepend=-1) != 0)[network.place[path] >= 0].sum())
    return math.exp(-lost / max(1, tokens))
