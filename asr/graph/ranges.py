"""Numpy helpers for many row ranges at once, such as the arcs of several states."""

from collections.abc import Iterator

import numpy as np


def expand_ranges(begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expand ranges, each `count` (R,) rows from `begin` (R,): returns, per row, the index of its range and the row."""
    which = np.repeat(np.arange(len(count)), count)
    return which, np.arange(len(which)) + (begin - (np.cumsum(count) - count))[which]


def blocks(first: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Split S states into blocks [low, high) of at most `size` arcs each, or of one state that has more.

    `first` (S + 1,): first arc of each state, then the number of arcs.
    """
    low = 0
    while low < len(first) - 1:
        high = max(low + 1, int(np.searchsorted(first, first[low] + size, "right")) - 1)
        yield low, high
        low = high
