"""What the two kinds of utterances in a stream share: asr.recognizer.streamed, asr.recognizer.rescored."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.models.acoustic import AcousticModel
from asr.models.imported import OnnxModel
from asr.recognizer.hypotheses import timed
from asr.recognizer.long import Recognizes, join, placed
from asr.search.live import FoundSoFar
from asr.search.searchers import Searcher

CLOSED_S = 60.0  # longest utterance of a word list or grammar, which cannot be cut


class StreamRecognizer(Recognizes, Protocol):
    """What a stream needs of a `Recognizer`."""

    model: AcousticModel | OnnxModel
    searcher: Searcher
    frame_s: float

    def log_probs(self, batch: list[np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class SoFar:
    """The state of an utterance; times count from its start."""

    words: list[Word]
    num_stable: int  # the first words that will not change
    heard_s: float  # the sound that these words are of; the rest waits for what follows it
    silence_s: float  # at the end of that, without a word
    final_cost: float  # cost of ending here; see `asr.search.live.FoundSoFar`


class Utterance(Protocol):
    """One utterance of a stream: samples (T,) float32 at the model's rate -> words."""

    def accept(self, samples: np.ndarray) -> None: ...

    def partial(self, now: bool = False) -> SoFar:
        """The state, which may not include the last sound that was accepted. `now`: with all sound that is decided."""
        ...

    def finish(self) -> Hypothesis: ...


class Pieces:
    """The hypotheses of the pieces of a long utterance that are done. Their words stay."""

    def __init__(self) -> None:
        self._done: list[Hypothesis] = []
        self._words: list[Word] = []
        self.start_s = 0.0  # of the next piece

    def add(self, piece: Hypothesis) -> None:
        self._done.append(placed(piece, self.start_s))
        self._words += self._done[-1].words
        self.start_s += piece.duration_s

    def so_far(self, found: FoundSoFar, frames: int, frame_s: float) -> SoFar:
        """The state of the utterance from that of its last piece."""
        now = [moved(word, self.start_s) for word in timed(found.words, frames, frame_s)]
        stable = len(self._words) + found.num_stable
        heard_s = self.start_s + frames * frame_s
        return SoFar([*self._words, *now], stable, heard_s, found.silent_frames * frame_s, found.final_cost)

    def joined(self, last: Hypothesis) -> Hypothesis:
        return join([*self._done, placed(last, self.start_s)]) if self._done else last


def moved(word: Word, by_s: float) -> Word:
    return replace(word, start_s=round(by_s + word.start_s, 3), end_s=round(by_s + word.end_s, 3))


def check_closed(duration_s: float) -> None:
    """Raises InputError for an utterance of a word list or grammar that is too long."""
    if duration_s > CLOSED_S:
        raise InputError(
            f"an utterance of a word list or grammar lasts at most {CLOSED_S:g} s in a stream; call finalize() when "
            "endpoint() tells its end"
        )
