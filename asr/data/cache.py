"""Inputs kept in memory that forked processes share: an input that one process loads is available to all."""

import mmap
from collections.abc import Sequence

import numpy as np


def shared_zeros(size: int, dtype: type) -> np.ndarray:
    """(size,) zeros in memory that processes forked later share. Pages that are never written cost nothing."""
    memory = mmap.mmap(-1, max(1, size) * np.dtype(dtype).itemsize)
    return np.frombuffer(memory, dtype)[:size]


class InputCache:
    """One slot per utterance, of a fixed number of values; an input that is longer than its slot is not kept."""

    def __init__(self, sizes: Sequence[int], dtype: type):
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.values = shared_zeros(int(self.starts[-1]), dtype)
        self.lengths = shared_zeros(len(sizes), np.int64)  # values kept; 0: none yet

    def get(self, index: int) -> np.ndarray | None:
        """The values (length,) of one utterance, or None before the first `put`."""
        start, length = self.starts[index], self.lengths[index]
        return self.values[start : start + length] if length else None

    def put(self, index: int, values: np.ndarray) -> None:
        start = self.starts[index]
        if len(values) <= self.starts[index + 1] - start:
            self.values[start : start + len(values)] = values
            self.lengths[index] = len(values)
