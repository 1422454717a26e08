"""A graph as the search reads it: memory-mapped where it lies, or growing while it is searched."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr import _decoder
from asr.errors import InputError, refusals

CHECKED_BYTES = 192 << 20  # graphs up to this size are checked whole when opened, larger ones as the search walks them


class Graph:
    """What a decoder searches: a packed graph (asr.graph.pack), used where it lies, memory-mapped, never parsed or
    copied; or a dynamic one (asr.graph.dynamic), which grows as it is searched."""

    def __init__(self, core: "_decoder.GraphSource"):
        self.core = core

    @classmethod
    def open(cls, path: str | Path, offset: int = 0, size: int | None = None) -> "Graph":
        """Map `size` bytes at `offset` of a file: a graph of its own, or a member stored in a zip uncompressed.

        Raises InputError naming the file when it cannot be read, is cut short or damaged. In a file of more than
        `CHECKED_BYTES` damage beyond the header is met, and refused, when a search comes to it.
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
        """A packed graph, searched in place; copied only where it does not begin at a multiple of 4 bytes."""
        array = np.frombuffer(data, np.uint8)
        if array.ctypes.data % 4:
            array = array.copy()
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
        """Largest input label: the net must have at least so many tokens."""
        return self.core.max_ilabel

    @property
    def is_implicit(self) -> bool:
        """LG, without CTC's topology, which the search then adds itself."""
        return self.core.is_implicit

    @property
    def max_olabel(self) -> int:
        return self.core.max_olabel
