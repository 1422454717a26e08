"""Many ranges of rows at once: the arcs of some states, the spellings of some words."""

from collections.abc import Iterator

import numpy as np


def expand_ranges(begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of ranges (R,) that begin at `begin` and hold `count` rows each: for every row its range, and the row."""
    which = np.repeat(np.arange(len(count)), count)
    return which, np.arange(len(which)) + (begin - (np.cumsum(count) - count))[which]


def blocks(first: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """States from low up to high, so that a block has up to `size` arcs, or one state.

    `first` (S + 1,) tells where the arcs of each state begin.
    """
    low = 0
    while low < len(first) - 1:
        high = max(low + 1, int(np.searchsorted(first, first[low] + size, "right")) - 1)
        yield low, high
        low = high
