"""Opened graphs, as a decoder takes them: a memory-mapped packed graph, or a dynamic one that grows during search."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr import _decoder
from asr.errors import InputError, refusals
from asr.graph.mapped_file import aligned

CHECKED_BYTES = 192 << 20  # smaller graphs are checked fully when opened, larger ones during search


class Graph:
    """A graph for a decoder: a packed graph (asr.graph.pack), memory-mapped, neither parsed nor copied; or a dynamic
    graph (asr.graph.dynamic), which grows during search."""

    def __init__(self, core: "_decoder.GraphSource"):
        self.core = core

    @classmethod
    def open(cls, path: str | Path, offset: int = 0, size: int | None = None) -> "Graph":
        """Map `size` bytes at `offset` of a file: a graph.bin, or an uncompressed member of a zip archive.

        Raises InputError naming the file if it cannot be read, is truncated or damaged. In a graph of more than
        `CHECKED_BYTES`, damage beyond the header raises InputError when the search reaches it.
        """
        try:
            length = Path(path).stat().st_size
            size = length - offset if size is None else size
            if size <= 0 or offset < 0 or offset + size > length:
                raise InputError(f"{path}: no graph of {size} bytes at offset {offset}; the file has {length} bytes")
            data = np.memmap(path, np.uint8, "r", offset, (size,))
        except OSError as e:
            raise InputError(f"cannot read the graph {path}: {e.strerror}; build it with `asr graph`") from e
        try:
            return cls.from_bytes(data)
        except InputError as e:
            raise InputError(f"{path}: {e}") from None

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview | NDArray[np.uint8]) -> "Graph":
        """A packed graph in memory, used in place; copied only if it does not start at a multiple of 8 bytes."""
        array = aligned(np.frombuffer(data, np.uint8))
        with refusals():
            return cls(_decoder.Graph(array, len(array) <= CHECKED_BYTES))

    @property
    def num_states(self) -> int:
        return self.core.num_states

    @property
    def num_arcs(self) -> int:
        return self.core.num_arcs

    @property
    def max_ilabel(self) -> int:
        """Largest input label. The net must have at least this many tokens."""
        return self.core.max_ilabel

    @property
    def is_implicit(self) -> bool:
        """Whether the graph is LG, to which the search adds the CTC topology."""
        return self.core.is_implicit

    @property
    def max_olabel(self) -> int:
        return self.core.max_olabel
