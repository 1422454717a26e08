"""Alignment by HMMs: the states of all frames, and from them phones and words with times and scores.

The HMMs say which phone each frame belongs to, silence included, so a boundary is halfway between the middles of two
frames, and then moves to where the sound changes (asr.align.changes).
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.align.aligner import Aligner, Heard, HeardTokens, Listener, Reading
from asr.align.alignment import LEAST_EXTRA_S, LEAST_EXTRA_TOKENS
from asr.align.changes import Changes
from asr.align.network import GARBAGE, Slot
from asr.align.phone_loop import PhoneLoop
from asr.align.pronouncing import Pronouncing
from asr.align.times import Clock, Span, Timed, moved, separated
from asr.data.alignments import TABLE
from asr.errors import InputError
from asr.hmm import topology
from asr.hmm.alignment import MOST_PASSAGE_CELLS, Spelled, read_passage, read_path
from asr.hmm.loose import loose_acceptor
from asr.hmm.model import Hmm
from asr.hmm.segments import Segments
from asr.models import FITTED
from asr.recognizer.recognizer import Recognizer
from asr.search.word_times import Segment
from asr.states import HMM_FILE
from asr.tokens import Tokens

SPREAD_S = 0.02  # of boundaries that move to changes of the sound; chosen on half of the TIMIT sample
ANY_SOUND = "<any sound>"  # a phone for words without a pronunciation
SKIPPED = "<skipped sound>"  # a phone for sound in no word, in long recordings
HEARD_SCORE, LEAST_HEARD = 0.1, 0.6  # see `Aligner`
ANY_COST = 2.0  # nats for each of its frames against the most probable output, besides its steps


class Skips(NamedTuple):
    """Costs of skipping words of the text and frames of sound, in nats."""

    word: float  # of each phone of a skipped word
    sound: float  # of each frame of sound in no word, against the most probable output


# Chosen on a chapter of LibriSpeech, as ANY_COST. A net's outputs differ less in their log-probs than mixtures do.
SKIPS_OF_MIXTURES, SKIPS_OF_NETS = Skips(10.0, 5.0), Skips(5.0, 2.5)

Part = tuple[int, int, int]  # a phone, and its frames [begin, end)


class HmmAligner(Aligner):
    """Aligns utterances of a recogniser of HMMs, whose scale all costs are multiplied by.

    `known_only`: utterances with a word without a pronunciation are refused, as their states are not all known.
    """

    heard_score, least_heard = HEARD_SCORE, LEAST_HEARD

    def __init__(
        self, recognizer: Recognizer, hmm: Hmm, pronouncing: Pronouncing, fillers: Sequence[str] = (),
        filler_cost: float = 0.0, known_only: bool = False,
    ):  # fmt: skip
        """Raises InputError for fillers without a pronunciation. The scale of the HMMs is no part of `filler_cost`."""
        super().__init__(pronouncing, fillers, filler_cost / hmm.scale)
        self.hmm, self.known_only = hmm, known_only
        self.skips = SKIPS_OF_MIXTURES if recognizer.cfg.model.kind in FITTED else SKIPS_OF_NETS
        self.extended = with_phones(hmm, ANY_SOUND, SKIPPED)
        skipped = self.extended.phones.encode([SKIPPED])
        self.gaps = [hmm.silence_id, *skipped] if hmm.silence else skipped  # the phones between words
        self.segments = Segments(self.extended, self.gaps)
        self.is_gap = np.isin(self.segments.phone, self.gaps)  # (V,) of each output
        phone = self.segments.phone[: len(hmm.tokens)]
        self.sums = (phone[:, None] == np.arange(len(self.extended.phones))).astype(np.float32)  # (V, P)
        self.sums[0] = 0.0
        features = recognizer.cfg.features
        middle_s = 0.0 if features.kind == "stored" else (features.window_ms - features.shift_ms) / 2000
        self.clock = Clock(recognizer.frame_s, recognizer.cfg.decoder.pad_s - middle_s)

    def read(
        self, slots: Sequence[Slot], log_probs: np.ndarray, duration_s: float, changes: Changes | None
    ) -> Reading | None:
        has_unknown = any(slot.spellings[0].tokens[0] == GARBAGE for slot in slots)
        scores = self._scores(log_probs) if has_unknown else log_probs
        found = read_path([self._spelled(slot) for slot in slots], self.extended, scores)
        if found is None:
            return None
        path, numbers = found
        posteriors = self._posteriors(log_probs)
        heard = list(self._heard(slots, path, numbers, posteriors, self.clock, duration_s, changes))
        is_known = path < log_probs.shape[1]
        lost = (log_probs.max(1) - scores[np.arange(len(path)), path])[is_known].sum(dtype=np.float64)
        phones = sum(segment.token != GARBAGE for word in heard for segment in word.segments)
        everywhere = np.ones(len(path), bool)
        extra = [*self._extra(path, posteriors, everywhere, self.clock, duration_s)]
        return Reading(heard, math.exp(-lost / max(1, phones)), extra, path)

    def listener(self, words: Sequence[str]) -> Listener:
        """The phones of a `PhoneLoop`. Raises InputError if no word has a pronunciation."""
        spelled = (self.pronouncing.spellings(word)[0].tokens for word in words)
        said = [phone for tokens in spelled if tokens[0] != GARBAGE for phone in self._phones(tokens)]
        if not said:
            raise InputError("no word of the text has a pronunciation; lexicon=FILE gives them one")
        loop, own = PhoneLoop(self.hmm, said), self.hmm.phones.symbols
        token = np.array([self.pronouncing.tokens.symbols.index(p) if p != self.hmm.silence else -1 for p in own])

        def listen(log_probs: np.ndarray) -> HeardTokens:
            heard = loop.hear(log_probs)
            return replace(heard, ids=token[heard.ids])

        return listen

    def passage(
        self, slots: Sequence[Slot], log_probs: np.ndarray, clock: Timed, duration_s: float, changes: Changes | None
    ) -> tuple[Sequence[Heard], Sequence[Span]] | None:
        if len(log_probs) * sum(len(slot.spellings[0].tokens) for slot in slots) > MOST_PASSAGE_CELLS:
            return None  # its graph has more states than tokens
        spelled, scale = [self._spelled(slot) for slot in slots], self.hmm.scale
        phones = loose_acceptor(spelled, self.extended, self.gaps, scale * self.skips.word)
        found = read_passage(phones, self.extended, self._scores(log_probs))
        if found is None:
            return None
        path, numbers = found
        posteriors = self._posteriors(log_probs)
        heard = self._heard(slots, path, numbers, posteriors, clock, duration_s, changes)
        may_speak = self.segments.phone[path] != self.hmm.silence_id
        extra = self._extra(path, posteriors, may_speak, clock, duration_s)
        return [*heard], [(start_s, end_s) for start_s, end_s in extra if end_s - start_s >= LEAST_EXTRA_S]

    def _scores(self, log_probs: np.ndarray) -> np.ndarray:
        """Those of the outputs, of any sound and of skipped sound (F, V + 4)."""
        best, scale = log_probs.max(1, keepdims=True), self.hmm.scale
        costs = scale * np.array([ANY_COST, ANY_COST, self.skips.sound, self.skips.sound], np.float32)
        return np.concatenate([log_probs, best - costs], 1)

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
        clock: Timed, duration_s: float, changes: Changes | None,
    ) -> Iterator[Heard]:  # fmt: skip
        """The words on a path (F,) of outputs that passes the pronunciations `numbers`, with their times."""
        sizes = [len(slot.spellings) + slot.is_optional for slot in slots]
        firsts = [*accumulate(sizes, initial=1)]  # the number of each slot's first pronunciation
        passed = [bisect_right(firsts, number) - 1 for number in numbers]
        chosen = [number - firsts[slot] for number, slot in zip(numbers, passed, strict=True)]
        spelled = [slots[slot].spellings[spelling].tokens for slot, spelling in zip(passed, chosen, strict=True)]
        said = [[self._phones(tokens)] for tokens in spelled] if self.segments.need_words else ()
        phones, bounds = self.segments.spans(path, said)
        spans = zip(phones, bounds, bounds[1:], strict=False)
        parts = [part for part in spans if part[0] not in self.gaps]
        times, at = _times(parts, clock, duration_s, changes), 0
        peaks = self._peaks(path, parts, posteriors)
        for slot, spelling, tokens in zip(passed, chosen, spelled, strict=True):
            own = slice(at, at + len(tokens))
            segments = [
                Segment(token, begin, end, peak)
                for token, (_, begin, end), peak in zip(tokens, parts[own], peaks[own], strict=True)
            ]
            yield Heard(slot, spelling, segments, times[own])
            at += len(tokens)

    def _peaks(self, path: np.ndarray, parts: Sequence[Part], posteriors: np.ndarray) -> list[float]:
        """The logarithm of the highest posterior of each phone on a path (F,); 0 for any sound."""
        if not parts:
            return []
        own = np.append(posteriors[np.arange(len(path)), self.segments.phone[path]], 0.0)  # (F + 1,)
        highest = np.maximum.reduceat(own, [frame for part in parts for frame in part[1:]])[::2]
        is_any = np.array([phone >= len(self.hmm.phones) for phone, _, _ in parts])
        return np.where(is_any, 0.0, np.log(np.maximum(highest, 1e-9).astype(float))).tolist()

    def _phones(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The phones of a pronunciation, numbered as in `self.extended`."""
        symbols = [ANY_SOUND if t == GARBAGE else self.pronouncing.tokens.decode([t])[0] for t in tokens]
        return tuple(self.extended.phones.encode(symbols))

    def _posteriors(self, log_probs: np.ndarray) -> np.ndarray:
        """The posteriors of the phones (F, P): each the sum of those of its outputs."""
        return np.exp(log_probs) @ self.sums

    def _extra(
        self, path: np.ndarray, posteriors: np.ndarray, may_speak: np.ndarray, clock: Timed, duration_s: float
    ) -> Iterator[Span]:
        """The times of speech between words: from the first to the last phone that is heard there in one of the frames
        `may_speak` (F,)."""
        best, is_gap = posteriors.argmax(1), self.is_gap[path]
        speech = np.flatnonzero(is_gap & (best != self.hmm.silence_id) & may_speak)  # frames
        if len(speech) < LEAST_EXTRA_TOKENS:
            return
        for start, end in np.flatnonzero(np.diff(is_gap, prepend=False, append=False)).reshape(-1, 2).tolist():
            heard = speech[slice(*np.searchsorted(speech, (start, end)))]
            runs = 1 + np.count_nonzero((np.diff(heard) > 1) | (np.diff(best[heard]) != 0)) if len(heard) else 0
            if runs >= LEAST_EXTRA_TOKENS:
                yield clock.time_s(int(heard[0]), duration_s), clock.time_s(int(heard[-1]) + 1, duration_s)


def _times(parts: Sequence[Part], clock: Timed, duration_s: float, changes: Changes | None) -> list[Span]:
    """When each phone begins and ends. Phones that meet share a boundary."""
    frames = list(dict.fromkeys(frame for part in parts for frame in part[1:]))  # ascending
    moments = [clock.time_s(frame, duration_s) for frame in frames]
    moments = separated(moved(moments, changes, SPREAD_S) if changes else moments, duration_s)
    at = dict(zip(frames, moments, strict=True))
    return [(at[begin], at[end]) for _, begin, end in parts]


def with_phones(hmm: Hmm, *names: str) -> Hmm:
    """The HMMs with more phones, whose outputs are behind all others: two of each, so that its end can be told."""
    size = len(hmm.tokens)
    outputs = [(first, first + 1) for first in range(size, size + 2 * len(names), 2)]
    steps = [topology.left_to_right(2)] * len(names)
    return replace(
        hmm, phones=Tokens([*hmm.phones.symbols, *names]), steps=(*hmm.steps, *steps), trees=(*hmm.trees, *outputs)
    )
