"""The phones of a path: from an output per frame to phones in context, with their frames."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.hmm.model import Hmm
from asr.search.word_times import match_words
from asr.text.lexicon import Lexicon

Spellings = Sequence[Sequence[tuple[int, ...]]]  # of each word: its pronunciations in phones


class Segment(NamedTuple):
    """A phone between two others, and its frames [begin, end)."""

    left: int
    phone: int
    right: int
    begin: int
    end: int


class Segments:
    """What the outputs of an HMM stand for."""

    def __init__(self, hmm: Hmm, gaps: Sequence[int] | None = None):
        """`gaps`: the phones that may be between words; None: silence."""
        self._states, self._silence, self._phones = hmm.states, hmm.silence_id, hmm.phones
        self._gaps = {hmm.silence_id} - {0} if gaps is None else set(gaps)
        self.state = hmm.states.state  # (V,) the state of each output
        self.phone = hmm.states.phone  # (V,) its phone, numbered as in the HMM: its outputs are in the order of phones

    @property
    def need_words(self) -> bool:
        """Whether `of` needs the spellings of the words: a phone of one state does not tell how often it is said."""
        return bool(self._states.is_single.any())

    def spellings(self, words: Sequence[str], lexicon: Lexicon) -> Spellings:
        """The pronunciations of words, for `of`; none if the path alone tells the phones."""
        if not self.need_words:
            return ()
        return [[tuple(self._phones.encode(units)) for units in lexicon.pronunciations[word]] for word in words]

    def of(self, path: NDArray[np.int32], spellings: Spellings = ()) -> Iterator[Segment]:
        """The phones of a path (F,), as `spans` finds them; the edges of the utterance count as silence."""
        phones, bounds = self.spans(path, spellings)
        around = [self._silence, *phones, self._silence]
        for number, (begin, end) in enumerate(pairwise(bounds)):
            yield Segment(around[number], around[number + 1], around[number + 2], begin, end)

    def spans(self, path: NDArray[np.int32], spellings: Spellings = ()) -> tuple[list[int], list[int]]:
        """The phones of a path (F,), and where each begins, then F. Silence after silence is one.

        `spellings` of the words tell how often a phone of one state is said where it follows itself; its frames are
        then divided into equal shares. Without them it counts once.
        """
        begins = self._states.begins(path)
        phone = self.phone[path]
        begins[1:] &= (phone[1:] != self._silence) | (phone[:-1] != self._silence)
        cuts = np.flatnonzero(begins)
        bounds = [*cuts.tolist(), len(path)]
        if spellings:
            bounds = self._divided(path, phone[cuts].tolist(), bounds, spellings)
        return phone[bounds[:-1]].tolist(), bounds

    def _divided(
        self, path: NDArray[np.int32], phones: Sequence[int], bounds: Sequence[int], spellings: Spellings
    ) -> list[int]:
        """Where the phones of the words begin, and the end, for stretches of `phones` between `bounds`."""
        sizes = np.diff(bounds).tolist()
        most = self._states.most_phones(path[bounds[:-1]], sizes)
        said = match_words(phones, spellings, self._gaps, most=most)
        counts = np.bincount([position for span in said for position in span], minlength=len(phones)).clip(min=1)
        parts = zip(bounds, sizes, counts.tolist(), strict=False)
        return [*(begin + size * k // count for begin, size, count in parts for k in range(count)), bounds[-1]]
