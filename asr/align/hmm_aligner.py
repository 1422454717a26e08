"""Alignment by HMMs: the states of all frames, and from them phones and words with times and scores.

The counterpart of `asr.align.aligner.Aligner`, which is for nets trained with CTC. The HMMs say which phone each frame
belongs to, silence included, so a boundary is halfway between the middles of two frames, and then moves to where the
sound changes (asr.align.changes).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from asr.align.alignment import LEAST_EXTRA_TOKENS, AlignedToken, AlignedWord, Alignment, remarks_on
from asr.align.changes import Changes
from asr.align.network import GARBAGE
from asr.align.pronouncing import Pronouncing
from asr.align.times import Clock, Span, moved, separated
from asr.errors import InputError
from asr.hmm.alignment import read_path
from asr.hmm.model import Hmm
from asr.hmm.segments import Segment, Segments
from asr.recognizer.recognizer import Recognizer
from asr.states import HMM_FILE, States

TABLE = "tokens.txt"  # of the outputs


class HmmAligner:
    """Aligns utterances of one recogniser of HMMs. Every word needs a pronunciation."""

    def __init__(self, recognizer: Recognizer, hmm: Hmm, pronouncing: Pronouncing):
        states = States.of(hmm.tokens)
        assert states is not None
        self.hmm, self.pronouncing, self.segments = hmm, pronouncing, Segments(hmm)
        self.phone = states.phone  # (V,) the phone of each output
        features = recognizer.cfg.features
        middle_s = 0.0 if features.kind == "stored" else (features.window_ms - features.shift_ms) / 2000
        self.clock = Clock(recognizer.frame_s, -middle_s)

    def align(
        self, id: str, text: str, log_probs: np.ndarray, duration_s: float, changes: Changes | None = None
    ) -> Alignment:
        """The best alignment of all pronunciations of the text with the log-probs (F, V) of `duration_s` seconds.

        Raises InputError if the log-probs contain NaN, for a word without a pronunciation, and if there are too few
        frames for the text. `changes` of the sound, if there are any, make the times more exact.
        """
        if np.isnan(log_probs).any():
            raise InputError("its log-probs contain NaN: the model may have diverged")
        words = text.split()
        self.pronouncing.learn(words)
        spelled = [self._spelled(word) for word in words]
        found = read_path(spelled, self.hmm, log_probs)
        if found is None:
            raise InputError(f"it is too short for its text: {len(log_probs)} frames, {len(words)} words")
        path, numbers = found
        posteriors = self._posteriors(log_probs)
        variants = [(word, units) for word, own in zip(words, spelled, strict=True) for units, _ in own]
        said = [[tuple(self.hmm.phones.encode(variants[number - 1][1]))] for number in numbers]
        parts = [part for part in self.segments.of(path, said) if part.phone != self.hmm.silence_id]
        times = self._times(parts, duration_s, changes)
        aligned, at = [], 0
        for number in numbers:
            word, units = variants[number - 1]
            own = slice(at, at + len(units))
            aligned.append(self._word(word, parts[own], times[own], posteriors))
            at += len(units)
        lost = float((log_probs.max(1) - log_probs[np.arange(len(path)), path]).sum(dtype=np.float64))
        score = round(math.exp(-lost / max(1, len(parts))), 4)
        remarks = remarks_on(aligned, [*self._extra(path, posteriors, duration_s)])
        return Alignment(id, duration_s, aligned, score, remarks, path)

    def write_beside(self, alignments: str | Path) -> None:
        """Writes the HMMs and the table of the states that a file of alignments is of, where criterion=ce looks."""
        self.hmm.write(Path(alignments).with_name(HMM_FILE))
        self.hmm.tokens.write(Path(alignments).with_name(TABLE))

    def _spelled(self, word: str) -> list[tuple[list[str], float]]:
        """The pronunciations of a word, and their costs."""
        found = self.pronouncing.spellings(word)
        if found[0].tokens[0] == GARBAGE:
            raise InputError(f"'{word}' has no pronunciation; lexicon=FILE gives it one")
        return [(self.pronouncing.tokens.decode(s.tokens), self.hmm.scale * s.cost) for s in found]

    def _posteriors(self, log_probs: np.ndarray) -> np.ndarray:
        """The posteriors of the phones (F, P): each the sum of those of its outputs."""
        found = np.zeros((len(log_probs), len(self.hmm.phones)))
        np.add.at(found.T, self.phone, np.exp(log_probs.T))
        return found

    def _times(self, parts: Sequence[Segment], duration_s: float, changes: Changes | None) -> list[Span]:
        """When each phone begins and ends. Phones that meet share a boundary."""
        frames = sorted({frame for part in parts for frame in (part.begin, part.end)})
        moments = [self.clock.time_s(frame, duration_s) for frame in frames]
        moments = separated(moved(moments, changes) if changes else moments, duration_s)
        at = dict(zip(frames, moments, strict=True))
        return [(at[part.begin], at[part.end]) for part in parts]

    def _word(self, word: str, parts: Sequence[Segment], times: Sequence[Span], posteriors: np.ndarray) -> AlignedWord:
        tokens = []
        for part, (start_s, end_s) in zip(parts, times, strict=True):
            score = min(1.0, float(posteriors[part.begin : part.end, part.phone].max()))
            tokens.append(AlignedToken(self.hmm.phones[part.phone], start_s, end_s, round(score, 4)))
        score = math.exp(sum(math.log(max(token.score, 1e-9)) for token in tokens) / len(tokens))
        return AlignedWord(word, tokens[0].start_s, tokens[-1].end_s, round(score, 4), tokens)

    def _extra(self, path: np.ndarray, posteriors: np.ndarray, duration_s: float) -> Iterator[Span]:
        """The times of speech in silence: from the first to the last phone that is heard there."""
        best, silence = posteriors.argmax(1), self.hmm.silence_id
        for part in self.segments.of(path):
            inside = best[part.begin : part.end]
            heard = np.flatnonzero(inside != silence)
            runs = [phone for phone, _ in groupby(inside.tolist()) if phone != silence]
            if part.phone == silence and len(runs) >= LEAST_EXTRA_TOKENS:
                edges = part.begin + int(heard[0]), part.begin + int(heard[-1]) + 1
                yield self.clock.time_s(edges[0], duration_s), self.clock.time_s(edges[1], duration_s)
