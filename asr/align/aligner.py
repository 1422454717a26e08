"""Text and log-probs of one utterance -> words and tokens with times and scores.

The text is a row of slots (asr.align.network). What a path through them is depends on the model: `CtcAligner` is for
nets trained with CTC, `HmmAligner` for HMMs. Spellings, fillers, words without a pronunciation, scores and remarks are
the same for both.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.align.alignment import AlignedToken, AlignedWord, Alignment, remarks_on
from asr.align.changes import Changes
from asr.align.network import GARBAGE, Slot, Spelling
from asr.align.pronouncing import Pronouncing
from asr.align.times import Clock, Span, Timed
from asr.errors import InputError
from asr.search.searchers import peak_confidence
from asr.search.word_times import Segment
from asr.text.lexicon import name_some


@dataclass(frozen=True)
class Heard:
    """A slot on the best path: its number, its spelling, and the segments of the tokens with their times."""

    slot: int
    spelling: int
    segments: Sequence[Segment]
    times: Sequence[Span]


@dataclass(frozen=True)
class Reading:
    """The best path: what is heard, its score, and the times of speech in pauses; `states` as in `Alignment`."""

    heard: Sequence[Heard]
    score: float
    extra: Sequence[Span]
    states: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class HeardTokens:
    """Tokens (N,) that are heard, and the frames [`starts`, `ends`) of each."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


Listener = Callable[[np.ndarray], HeardTokens]  # of log-probs (F, V): the tokens without pauses


class Aligner(ABC):
    """Aligns utterances of one recogniser. `fillers` may be heard between any two words, at `filler_cost` each.

    For long recordings, `listener` says what is heard without the text, and `passage` aligns a part of a recording.
    """

    clock: Clock  # of recordings that are scored as a whole
    heard_score: float  # of a word that is in the recording; a word of something else that had to fit has less
    least_heard: float  # of `Places.heard` (asr.align.long), of texts and recordings too short for `Places.agreed`

    def __init__(self, pronouncing: Pronouncing, fillers: Sequence[str] = (), filler_cost: float = 0.0):
        """Raises InputError for fillers without a pronunciation."""
        if unknown := pronouncing.learn(fillers):
            raise InputError(f"fillers without a pronunciation: {name_some(unknown)}; add them to the lexicon")
        self.pronouncing = pronouncing
        spelled = [(filler, spelling) for filler in fillers for spelling in pronouncing.spellings(filler)]
        self.fillers = [filler for filler, _ in spelled]  # of each spelling
        self.filler = Slot("", [Spelling(s.tokens, s.cost + filler_cost) for _, s in spelled], is_optional=True)

    @abstractmethod
    def read(
        self, slots: Sequence[Slot], log_probs: np.ndarray, duration_s: float, changes: Changes | None
    ) -> Reading | None:
        """The best path through the slots; None if there are too few frames for any."""

    @abstractmethod
    def listener(self, words: Sequence[str]) -> Listener:
        """What a recording says of which the text, words that `pronouncing` has learnt, is no more than a hint."""

    @abstractmethod
    def passage(
        self, slots: Sequence[Slot], log_probs: np.ndarray, clock: Timed, duration_s: float, changes: Changes | None
    ) -> tuple[Sequence[Heard], Sequence[Span]] | None:
        """The slots that are heard in a part of a recording, and the times of speech that they lack. Slots and sound
        may be left out, at a cost. None if the part is too large for the memory."""

    def align(
        self, id: str, text: str, log_probs: np.ndarray, duration_s: float, changes: Changes | None = None
    ) -> Alignment:
        """The best alignment of all spellings of the text with the log-probs (F, V) of `duration_s` seconds.

        `changes` of the sound, if there are any, make the times more exact.

        Raises InputError if the log-probs contain NaN, or if there are too few frames for the text.
        """
        if np.isnan(log_probs).any():
            raise InputError("its log-probs contain NaN: the model may have diverged")
        words = text.split()
        self.pronouncing.learn(words)
        slots = self.slots(words)
        reading = self.read(slots, log_probs, duration_s, changes)
        if reading is None:
            raise InputError(f"it is too short for its text: {len(log_probs)} frames, {len(words)} words")
        found = [self.word(slots, heard) for heard in reading.heard]
        remarks = remarks_on(found, reading.extra)
        return Alignment(id, duration_s, found, round(reading.score, 4), remarks, reading.states)

    def slots(self, words: Sequence[str]) -> list[Slot]:
        """The slots of words that `pronouncing` has learnt, with fillers around them."""
        slots = [Slot(word, self.pronouncing.spellings(word)) for word in words]
        if not self.fillers:
            return slots
        return [self.filler, *(part for slot in slots for part in (slot, self.filler))]

    def word(self, slots: Sequence[Slot], heard: Heard) -> AlignedWord:
        slot, (start_s, end_s) = slots[heard.slot], (heard.times[0][0], heard.times[-1][1])
        word = self.fillers[heard.spelling] if slot.is_optional else slot.word
        if heard.segments[0].token == GARBAGE:
            return AlignedWord(word, start_s, end_s, 0.0, [], is_unknown=True)
        tokens = [
            AlignedToken(self.pronouncing.tokens[s.token], *times, round(min(1.0, math.exp(s.log_prob)), 4))
            for s, times in zip(heard.segments, heard.times, strict=True)
        ]
        return AlignedWord(word, start_s, end_s, round(peak_confidence(heard.segments), 4), tokens, slot.is_optional)
