"""Alignment by nets trained with CTC, which answer each token with a short peak."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

import numpy as np

from asr.align.aligner import Aligner, Heard, HeardTokens, Listener, Reading
from asr.align.alignment import LEAST_EXTRA_TOKENS
from asr.align.changes import Changes
from asr.align.network import GARBAGE, Network, Slot
from asr.align.pronouncing import Pronouncing
from asr.align.times import LEAD_S, TAIL_S, Clock, Edges, Span, Timed
from asr.align.trellis import MOST_CELLS, best_path
from asr.errors import InputError
from asr.recognizer.recognizer import Recognizer
from asr.search.word_times import Segment
from asr.text.lexicon import name_some
from asr.tokens import BLANK_ID, SPACE

HEARD_SCORE, LEAST_HEARD = 0.1, 0.25  # see `Aligner`
SKIP_WORD = 3.0  # nats for each token of a skipped word; both chosen on a chapter of LibriSpeech
SKIP_SOUND = 0.4  # nats for each frame of sound that is in no word, against the most probable output
GARBAGE_COST = 0.5  # nats for each frame of a word without a pronunciation, against the most probable output


class CtcAligner(Aligner):
    """Aligns utterances of a recogniser that was trained with CTC."""

    heard_score, least_heard = HEARD_SCORE, LEAST_HEARD

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
        super().__init__(pronouncing, fillers, filler_cost)
        self.clock, self.edges_s = Clock.of(recognizer), edges_s
        self.gaps = [BLANK_ID, *tokens.encode(name for name in (SPACE, silence) if name and name in tokens)]

    def read(
        self, slots: Sequence[Slot], log_probs: np.ndarray, duration_s: float, changes: Changes | None
    ) -> Reading | None:
        network = Network(slots)
        path = best_path(network, emissions(log_probs, self.gaps, GARBAGE_COST))
        if path is None:
            return None
        heard = self.heard(network, path, log_probs, self.clock, duration_s, changes)
        extra = list(self.extra(network, path, log_probs, self.clock, duration_s))
        return Reading(heard, likeness(network, path, log_probs, self.gaps), extra)

    def listener(self, words: Sequence[str]) -> Listener:
        """Greedy decoding, without blanks, separators and silence; the text does not matter."""
        return partial(collapsed, gaps=self.gaps)

    def passage(
        self, slots: Sequence[Slot], log_probs: np.ndarray, clock: Timed, duration_s: float, changes: Changes | None
    ) -> tuple[Sequence[Heard], Sequence[Span]] | None:
        network = Network(slots, SKIP_WORD)
        if len(log_probs) * len(network) > MOST_CELLS:
            return None
        path = best_path(network, emissions(log_probs, self.gaps, GARBAGE_COST, SKIP_SOUND))
        if path is None:
            return [], []
        heard = self.heard(network, path, log_probs, clock, duration_s, changes)
        return heard, [*self.extra(network, path, log_probs, clock, duration_s)]

    def heard(
        self, network: Network, path: np.ndarray, log_probs: np.ndarray, clock: Timed, duration_s: float,
        changes: Changes | None,
    ) -> list[Heard]:  # fmt: skip
        """The words on a path (F,) with their times."""
        parts = list(spoken(network, path, log_probs))
        edges = Edges.of([segments for _, _, segments in parts], clock, duration_s, *self.edges_s, changes)
        return [Heard(*part, times) for part, times in zip(parts, edges.tokens, strict=True)]

    def extra(
        self, network: Network, path: np.ndarray, log_probs: np.ndarray, clock: Timed, duration_s: float
    ) -> Iterator[Span]:
        """The times of speech in gaps: from the first to the last token that the net hears there."""
        best = log_probs.argmax(1)
        is_gap = np.isin(path, network.gaps)
        is_speech = is_gap & ~np.isin(best, self.gaps)
        changes = np.flatnonzero(np.diff(is_gap, prepend=False, append=False))
        for start, end in changes.reshape(-1, 2):
            inside = start + np.flatnonzero(is_speech[start:end])
            if (np.diff(best[start:end], prepend=-1) != 0)[is_speech[start:end]].sum() >= LEAST_EXTRA_TOKENS:
                first, last = int(inside[0]), int(inside[-1])
                yield clock.time_s(first, duration_s), clock.time_s(last + 1, duration_s)


def collapsed(log_probs: np.ndarray, gaps: Sequence[int]) -> HeardTokens:
    """The tokens of the most probable outputs of log-probs (F, V), without those of `gaps`."""
    best = log_probs.argmax(1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    ends = np.append(starts[1:], len(best))
    kept = ~np.isin(best[starts], gaps)
    return HeardTokens(best[starts][kept], starts[kept], ends[kept])


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
