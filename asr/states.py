"""Names of HMM states, the outputs of a net or of mixtures that score states of phones and not tokens.

`AA[1]` is state 1 of the phone AA in any context; `AA[1.17]` is leaf 17 of that state's decision tree. A token table
whose symbols, apart from the blank, are all such names is a table of states. Output 0 remains the blank, but no path of
an HMM passes it.
"""

import re
from collections.abc import Sequence

import numpy as np

from asr.tokens import BLANK, BLANK_ID, Tokens

HMM_FILE = "hmm.json"  # beside the model that scores the states; see asr.hmm.model
_NAME = re.compile(r"(.+)\[(\d+)(?:\.\d+)?\]")


def state_name(phone: str, state: int, leaf: int | None = None) -> str:
    return f"{phone}[{state}]" if leaf is None else f"{phone}[{state}.{leaf}]"


def every_nth(steps: np.ndarray, n: int) -> np.ndarray:
    """A topology (S + 1, S + 1), as in asr.hmm.topology, of a path of which every n-th frame is seen.

    Its steps are n of the given ones; who leaves on the way has left. The first frame that is seen is in a first state.
    """
    remaining = np.vstack([steps[1:], np.eye(len(steps))[-1]])  # the way out is absorbing
    return np.vstack([steps[:1], np.linalg.matrix_power(remaining, n)[:-1]])


class States:
    """What a table of states says about each of its outputs."""

    def __init__(self, pairs: Sequence[tuple[str, int]]):
        """`pairs`: phone and state of the outputs 1, 2, ..."""
        self.phones = Tokens([BLANK, *dict.fromkeys(phone for phone, _ in pairs)])
        self.phone = np.array([BLANK_ID, *self.phones.encode(phone for phone, _ in pairs)])  # (V,) token of `phones`
        self.state = np.array([0, *(state for _, state in pairs)])  # (V,)
        sizes = np.zeros(len(self.phones), np.int64)
        np.maximum.at(sizes, self.phone, self.state + 1)
        self.is_single = sizes == 1  # (P,) phones of one state
        self.is_single[BLANK_ID] = False
        self.repeats = self.is_single[self.phone]  # (V,) outputs of which a phone may follow itself; see `Hmm.states`

    @classmethod
    def of(cls, tokens: Tokens) -> "States | None":
        """The states of a table; None for a table of tokens."""
        found = [_NAME.fullmatch(symbol) for symbol in tokens.symbols[1:]]
        pairs = [(match[1], int(match[2])) for match in found if match]
        return cls(pairs) if pairs and len(pairs) == len(found) else None

    def begins(self, path: np.ndarray) -> np.ndarray:
        """Where the phones of a path (F,) of outputs begin: (F,) bool.

        A phone begins where the phone changes, its state goes back, or the same state has another output, that of
        another context. Silence may go back, which does no harm. A phone of one state that is said twice may look like
        one; the words tell (`most_phones`).
        """
        begins = np.ones(len(path), bool)
        phone, state = self.phone[path], self.state[path]
        begins[1:] = (phone[1:] != phone[:-1]) | (state[1:] < state[:-1])
        begins[1:] |= (state[1:] == state[:-1]) & (path[1:] != path[:-1])
        return begins

    def most_phones(self, outputs: np.ndarray, sizes: Sequence[int]) -> list[int]:
        """How many phones may look like each phone of a path, of so many frames: the same one several times. `outputs`:
        of their first frames."""
        return np.where(self.repeats[outputs], sizes, 1).tolist()
