"""The phones of a path: from an output per frame to phones in context, with their frames."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.hmm.model import Hmm
from asr.states import States


class Segment(NamedTuple):
    """A phone between two others, and its frames [begin, end)."""

    left: int
    phone: int
    right: int
    begin: int
    end: int


class Segments:
    """What the outputs of an HMM stand for."""

    def __init__(self, hmm: Hmm):
        found = States.of(hmm.tokens)
        assert found is not None
        self._states, self._silence = found, hmm.silence_id
        self.state = found.state  # (V,) the state of each output

    def of(self, path: NDArray[np.int32]) -> Iterator[Segment]:
        """The phones of a path (F,). Silence after silence is one; the edges of the utterance count as silence."""
        begins = self._states.begins(path)
        phone = self._states.phone[path]  # numbered as in the HMM: its outputs are in the order of its phones
        begins[1:] &= (phone[1:] != self._silence) | (phone[:-1] != self._silence)
        cuts = np.flatnonzero(begins)
        around = [self._silence, *phone[cuts].tolist(), self._silence]
        for number, (begin, end) in enumerate(pairwise([*cuts.tolist(), len(path)])):
            yield Segment(around[number], around[number + 1], around[number + 2], begin, end)
