"""Alignment by HMMs: the states of all frames, and from them phones and words with times and scores.

The HMMs say which phone each frame belongs to, silence included, so a boundary is halfway between the middles of two
frames, and then moves to where the sound changes (asr.align.changes).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from asr.align.aligner import Aligner, Heard, Reading
from asr.align.alignment import LEAST_EXTRA_TOKENS
from asr.align.changes import Changes
from asr.align.network import GARBAGE, Slot
from asr.align.pronouncing import Pronouncing
from asr.align.times import Clock, Span, moved, separated
from asr.data.alignments import TABLE
from asr.errors import InputError
from asr.hmm import topology
from asr.hmm.alignment import Spelled, read_path
from asr.hmm.model import Hmm
from asr.hmm.segments import Segment as Phone
from asr.hmm.segments import Segments
from asr.recognizer.recognizer import Recognizer
from asr.search.word_times import Segment
from asr.states import HMM_FILE, States
from asr.tokens import Tokens

SPREAD_S = 0.02  # of boundaries that move to changes of the sound; chosen on half of the TIMIT sample
ANY_SOUND = "<any sound>"  # a phone for words without a pronunciation
ANY_COST = 2.0  # nats for each of its frames against the most probable output, besides its steps; chosen likewise


class HmmAligner(Aligner):
    """Aligns utterances of a recogniser of HMMs.

    `known_only`: utterances with a word without a pronunciation are refused, as their states are not all known.
    """

    def __init__(
        self, recognizer: Recognizer, hmm: Hmm, pronouncing: Pronouncing, fillers: Sequence[str] = (),
        filler_cost: float = 0.0, known_only: bool = False,
    ):  # fmt: skip
        """Raises InputError for fillers without a pronunciation. The scale of the HMMs is no part of `filler_cost`."""
        super().__init__(pronouncing, fillers, filler_cost / hmm.scale)
        self.hmm, self.known_only = hmm, known_only
        self.extended = with_any_sound(hmm)
        self.segments = Segments(self.extended)
        states = States.of(hmm.tokens)
        assert states is not None
        self.first_output = np.searchsorted(states.phone, np.arange(1, len(hmm.phones)))  # of each phone from 1 on
        features = recognizer.cfg.features
        middle_s = 0.0 if features.kind == "stored" else (features.window_ms - features.shift_ms) / 2000
        self.clock = Clock(recognizer.frame_s, -middle_s)

    def read(
        self, slots: Sequence[Slot], log_probs: np.ndarray, duration_s: float, changes: Changes | None
    ) -> Reading | None:
        spelled = [self._spelled(slot) for slot in slots]
        scores = log_probs
        if any(slot.spellings[0].tokens[0] == GARBAGE for slot in slots):
            any_sound = log_probs.max(1, keepdims=True) - self.hmm.scale * ANY_COST
            scores = np.concatenate([log_probs, any_sound, any_sound], 1)  # (F, V + 2)
        found = read_path(spelled, self.extended, scores)
        if found is None:
            return None
        path, numbers = found
        posteriors = self._posteriors(log_probs)
        heard = list(self._heard(slots, path, numbers, posteriors, duration_s, changes))
        is_known = path < log_probs.shape[1]
        lost = (log_probs.max(1) - scores[np.arange(len(path)), path])[is_known].sum(dtype=np.float64)
        phones = sum(segment.token != GARBAGE for word in heard for segment in word.segments)
        return Reading(heard, math.exp(-lost / max(1, phones)), [*self._extra(path, posteriors, duration_s)], path)

    def write_beside(self, alignments: str | Path) -> None:
        """Writes the HMMs and the table of the states that a file of alignments is of, where criterion=ce looks."""
        self.hmm.write(Path(alignments).with_name(HMM_FILE))
        self.hmm.tokens.write(Path(alignments).with_name(TABLE))

    def _spelled(self, slot: Slot) -> Spelled:
        """The pronunciations of a slot and their costs, with an empty one if it is optional."""
        if slot.spellings[0].tokens[0] == GARBAGE:
            if self.known_only:
                raise InputError(f"'{slot.word}' has no pronunciation; lexicon=FILE gives it one")
            return [([ANY_SOUND], 0.0)]
        tokens, scale = self.pronouncing.tokens, self.hmm.scale
        found: list[tuple[Sequence[str], float]] = [(tokens.decode(s.tokens), scale * s.cost) for s in slot.spellings]
        return [*found, ((), 0.0)] if slot.is_optional else found

    def _heard(
        self, slots: Sequence[Slot], path: np.ndarray, numbers: Sequence[int], posteriors: np.ndarray,
        duration_s: float, changes: Changes | None,
    ) -> Iterator[Heard]:  # fmt: skip
        """The words on a path (F,) of outputs that passes the pronunciations `numbers`, with their times."""
        sizes = [len(slot.spellings) + slot.is_optional for slot in slots]
        firsts = np.cumsum([1, *sizes])  # the number of each slot's first pronunciation
        passed = [int(np.searchsorted(firsts, number, "right")) - 1 for number in numbers]
        chosen = [number - int(firsts[slot]) for number, slot in zip(numbers, passed, strict=True)]
        spelled = [slots[slot].spellings[spelling].tokens for slot, spelling in zip(passed, chosen, strict=True)]
        said = [[self._phones(tokens)] for tokens in spelled]
        parts = [part for part in self.segments.of(path, said) if part.phone != self.hmm.silence_id]
        times, at = self._times(parts, duration_s, changes), 0
        for slot, spelling, tokens in zip(passed, chosen, spelled, strict=True):
            segments = []
            for token, part in zip(tokens, parts[at:], strict=False):
                peak = 0.0
                if token != GARBAGE:
                    peak = math.log(max(float(posteriors[part.begin : part.end, part.phone].max()), 1e-9))
                segments.append(Segment(token, part.begin, part.end, peak))
            yield Heard(slot, spelling, segments, times[at : at + len(segments)])
            at += len(segments)

    def _phones(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The phones of a pronunciation, numbered as in `self.extended`."""
        symbols = [ANY_SOUND if t == GARBAGE else self.pronouncing.tokens.decode([t])[0] for t in tokens]
        return tuple(self.extended.phones.encode(symbols))

    def _posteriors(self, log_probs: np.ndarray) -> np.ndarray:
        """The posteriors of the phones (F, P): each the sum of those of its outputs."""
        found = np.zeros((len(log_probs), len(self.extended.phones)), np.float32)
        found[:, 1 : len(self.hmm.phones)] = np.add.reduceat(np.exp(log_probs), self.first_output, axis=1)
        return found

    def _times(self, parts: Sequence[Phone], duration_s: float, changes: Changes | None) -> list[Span]:
        """When each phone begins and ends. Phones that meet share a boundary."""
        frames = sorted({frame for part in parts for frame in (part.begin, part.end)})
        moments = [self.clock.time_s(frame, duration_s) for frame in frames]
        moments = separated(moved(moments, changes, SPREAD_S) if changes else moments, duration_s)
        at = dict(zip(frames, moments, strict=True))
        return [(at[part.begin], at[part.end]) for part in parts]

    def _extra(self, path: np.ndarray, posteriors: np.ndarray, duration_s: float) -> Iterator[Span]:
        """The times of speech in silence: from the first to the last phone that is heard there."""
        best, silence = posteriors.argmax(1), self.hmm.silence_id
        for part in self.segments.of(path):
            if part.phone != silence:
                continue
            inside = best[part.begin : part.end]
            heard = np.flatnonzero(inside != silence)
            runs = [phone for phone, _ in groupby(inside.tolist()) if phone != silence]
            if len(runs) >= LEAST_EXTRA_TOKENS:
                edges = part.begin + int(heard[0]), part.begin + int(heard[-1]) + 1
                yield self.clock.time_s(edges[0], duration_s), self.clock.time_s(edges[1], duration_s)


def with_any_sound(hmm: Hmm) -> Hmm:
    """The HMMs with a phone `ANY_SOUND`, whose two outputs are behind all others: two, so that its end can be told."""
    size = len(hmm.tokens)
    return replace(
        hmm, phones=Tokens([*hmm.phones.symbols, ANY_SOUND]), steps=(*hmm.steps, topology.left_to_right(2)),
        trees=(*hmm.trees, (size, size + 1)),
    )  # fmt: skip
