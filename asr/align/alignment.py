"""The result of aligning an utterance: words and tokens with their times and scores."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_SCORE = 0.05  # of a word; below, it is named as doubtful
LEAST_EXTRA_TOKENS = 3  # that are heard in a pause before it is called speech
MOST_SHOWN = 10  # lines about suspicious places in a table; the report has all of them
LEAST_EXTRA_S = 0.3  # speech in a pause that the text does not have


@dataclass(frozen=True)
class AlignedToken:
    """A token of a word: times in seconds from the start of the utterance; its highest posterior in that time."""

    token: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class AlignedWord:
    """A word of the text, or a filler that was heard between two of them.

    `score` is the geometric mean of its tokens' scores, from 0 to 1. A word without a pronunciation (`is_unknown`)
    covers any sound, has no tokens, and the score 0.
    """

    word: str
    start_s: float
    end_s: float
    score: float
    tokens: Sequence[AlignedToken]
    is_filler: bool = False
    is_unknown: bool = False


@dataclass(frozen=True)
class Alignment:
    """The words of one utterance. `score` is the likeness of sound and text: 1 if the net hears exactly these tokens.

    `remarks` say what is suspicious, in sentences; empty if nothing is. `states` (F,): the output that each frame
    belongs to, of HMMs alone.
    """

    id: str
    duration_s: float
    words: Sequence[AlignedWord]
    score: float
    remarks: Sequence[str]
    states: NDArray[np.int32] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: words with their tokens. Only fillers and unknown words have their marks."""
        words = []
        for word in self.words:
            fields = asdict(word)
            words.append({name: value for name, value in fields.items() if value is not False})
        return {"words": words, "score": self.score, "remarks": list(self.remarks)}


def remarks_on(words: Sequence[AlignedWord], extra: Sequence[tuple[float, float]]) -> list[str]:
    """What is suspicious about words, and about `extra`: the times (start, end) of speech that the text lacks."""
    found = [
        f"'{word.word}' at {word.start_s:.2f} s has the score {word.score:.3f}"
        for word in words
        if word.score < LEAST_SCORE and not word.is_unknown
    ]
    found += [
        f"{end_s - start_s:.2f} s of speech at {start_s:.2f} s are not in the text"
        for start_s, end_s in extra
        if end_s - start_s >= LEAST_EXTRA_S
    ]
    found += [f"'{word.word}' at {word.start_s:.2f} s has no pronunciation" for word in words if word.is_unknown]
    return found
