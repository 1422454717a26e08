"""The searches of a stream: log-probs of one utterance in pieces -> its words so far, and at its end what
`Searcher.search` finds in all of them at once.

The first `num_stable` words of a `FoundSoFar` stay as they are, whatever follows; their times and confidences may still
change. A word list or grammar has none before the end: a path that ends within an entry has no words. Nor have
`decoder.mbr` and `decoder.rescore`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr.errors import InputError
from asr.pieces import words_of
from asr.search.phrases import Phrases
from asr.search.searchers import Found, FoundWord, GraphSearcher, GreedySearcher, Searcher, peak_confidence
from asr.tokens import BLANK_ID


@dataclass(frozen=True)
class FoundSoFar:
    """The state of a search before the end of its utterance."""

    words: list[FoundWord]  # of the cheapest path; confidences are those of its tokens, not calibrated
    num_stable: int  # the first words that will not change
    silent_frames: int  # frames at the end without a token of a word
    final_cost: float  # cost of ending here, above the cheapest path; inf if the utterance cannot end here


class LiveSearch(Protocol):
    """Of one utterance, by one thread at a time. Raises InputError for NaN."""

    def accept(self, log_probs: np.ndarray) -> None:
        """The next log-probs (F, V) float32."""

    def partial(self) -> FoundSoFar: ...

    def finish(self, samples: np.ndarray) -> Found:
        """`samples` (T,): the sound of all log-probs, which a second pass may need."""
        ...


def live_search(searcher: Searcher, phrases: Phrases | None = None) -> LiveSearch:
    if isinstance(searcher, GraphSearcher):
        return LiveGraphSearch(searcher, phrases)
    assert isinstance(searcher, GreedySearcher)
    return LiveGreedySearch(searcher) if phrases is None else LiveLoopSearch(searcher, phrases)


class BeamSearch:
    """What the live searches with a decoder have in common: its stream, and the log-probs that it has heard."""

    def __init__(self, searcher: GraphSearcher | GreedySearcher, phrases: Phrases | None):
        self._search = searcher.decoder.stream(phrases)
        self._heard = Frames(len(searcher.tokens))

    def accept(self, log_probs: np.ndarray) -> None:
        self._search.accept(log_probs)
        self._heard.append(log_probs)


class LiveGraphSearch(BeamSearch):
    def __init__(self, searcher: GraphSearcher, phrases: Phrases | None):
        super().__init__(searcher, phrases)
        self._searcher, self._phrases = searcher, phrases

    def partial(self) -> FoundSoFar:
        partial, space = self._search.partial(), self._searcher.space
        words, groups = self._searcher.words_on(partial.path, self._heard.all)
        states = self._searcher.states
        placed = [FoundWord(w, g, peak_confidence(g), states is not None) for w, g in zip(words, groups, strict=False)]
        if space.is_closed or self._searcher.mbr or self._searcher.second:  # the whole lattice decides
            num_stable = 0
        elif space.of_pieces:  # the last word may grow
            stable = [space.words[label] for label in partial.path.labels[: partial.num_stable]]
            num_stable = max(0, len(words_of(stable)) - 1)
        else:
            num_stable = partial.num_stable
        alignment = partial.path.alignment
        silent = trailing(states.phone[alignment] if states else alignment, self._searcher.between)
        return FoundSoFar(placed, min(num_stable, len(placed)), silent, partial.final_cost)

    def finish(self, samples: np.ndarray) -> Found:
        path = self._search.finish()
        lattice = None if self._searcher.decoder.lattice_beam is None else self._search.lattice()
        return self._searcher.heard(samples).found(path, lattice, self._heard.all, self._phrases)


class LiveGreedySearch:
    def __init__(self, searcher: GreedySearcher):
        self._searcher = searcher
        self._heard = Frames(len(searcher.tokens))
        self._best: list[np.ndarray] = []  # tokens of the frames

    def accept(self, log_probs: np.ndarray) -> None:
        if np.isnan(log_probs).any():
            raise InputError("the log-probs of the stream hold NaN: the model may have diverged")
        self._heard.append(log_probs)
        self._best.append(log_probs.argmax(1))

    def partial(self) -> FoundSoFar:
        best = np.concatenate([np.zeros(0, np.int64), *self._best])
        words = self._searcher.words_on(best, self._heard.all)
        spoken = best[best != BLANK_ID]
        between = self._searcher.between
        is_open = self._searcher.unit != "phone" and len(spoken) > 0 and int(spoken[-1]) not in between
        return FoundSoFar(words, max(0, len(words) - is_open), trailing(best, between), 0.0)

    def finish(self, samples: np.ndarray) -> Found:
        return self._searcher.search(self._heard.all)


class LiveLoopSearch(BeamSearch):
    """Greedy search with phrases: a beam search through a loop over all tokens."""

    def __init__(self, searcher: GreedySearcher, phrases: Phrases):
        super().__init__(searcher, phrases)
        self._searcher = searcher

    def partial(self) -> FoundSoFar:
        partial = self._search.partial()
        path, stable = partial.path, partial.num_stable
        words = self._searcher.words_on(path.alignment, self._heard.all)
        # Tokens from this frame on may change, and so may the word that the last one before it belongs to.
        until = path.label_frames[stable] if stable < len(path.labels) else len(path.alignment)
        fixed = sum(word.segments[-1].start < until for word in words)
        num_stable = max(0, fixed - (self._searcher.unit != "phone"))
        return FoundSoFar(words, num_stable, trailing(path.alignment, self._searcher.between), partial.final_cost)

    def finish(self, samples: np.ndarray) -> Found:
        path = self._search.finish()
        return self._searcher.found(path.alignment, path.cost, self._heard.all)


class Frames:
    """Log-probs (F, V) that grow at their end."""

    def __init__(self, num_tokens: int):
        self._array, self._count = np.zeros((64, num_tokens), np.float32), 0

    def append(self, log_probs: np.ndarray) -> None:
        end = self._count + len(log_probs)
        while end > len(self._array):
            self._array = np.concatenate([self._array, np.empty_like(self._array)])
        self._array[self._count : end] = log_probs
        self._count = end

    @property
    def all(self) -> np.ndarray:
        return self._array[: self._count]


def trailing(alignment: np.ndarray, between: set[int]) -> int:
    """The frames after the last token of a word in an alignment (F,)."""
    spoken = np.flatnonzero(~np.isin(alignment, [BLANK_ID, *between]))
    return len(alignment) - (int(spoken[-1]) + 1 if len(spoken) else 0)
