"""Memory-mapped files: a header, then arrays, each at a multiple of 8 bytes (csrc/decoder/mapped_file.h)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import atomic_write
from asr.graph.counts import require_count


def write_parts(path: str | Path, header: NDArray[np.void], parts: Sequence[np.ndarray]) -> None:
    """Write the header, with `num_bytes` filled in, and the parts. The file is replaced atomically.

    Raises InputError for a count of 2^31 or more.
    """
    for name in header.dtype.names or ():
        if name.startswith("num_") and name != "num_bytes":
            require_count(int(header[name]), name.removeprefix("num_"))
    sizes = [-(-part.nbytes // 8) * 8 for part in (header, *parts)]
    header["num_bytes"] = sum(sizes)
    with atomic_write(path, "wb") as file:
        for part, size in zip((header, *parts), sizes, strict=True):
            file.write(part.tobytes())
            file.write(bytes(size - part.nbytes))


def aligned(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes at an address that is a multiple of 8, as the search requires; copied only if they are elsewhere."""
    return data.copy() if data.ctypes.data % 8 else data


def read_parts(data: NDArray[np.uint8], header: np.dtype, what: str) -> tuple[np.void, "PartReader"]:
    """Parse the header; returns it and a reader for the parts. Raises InputError if the data is shorter than a header.

    `what` names the file in messages.
    """
    if len(data) < header.itemsize:
        raise InputError(f"{what} has {len(data)} bytes, less than a header; run `asr graph` again")
    reader = PartReader(data, what)
    return reader.take(header, 1)[0], reader


class PartReader:
    """Hands out the parts of a mapped file in order, without copying."""

    def __init__(self, data: NDArray[np.uint8], what: str):
        self.data, self.what, self.place = data, what, 0

    def take(self, kind: np.dtype | type, count: int) -> np.ndarray:
        """The next part as (count,) of `kind`. Raises InputError if the file ends before it does."""
        size = np.dtype(kind).itemsize * int(count)
        part = self.data[self.place : self.place + size]
        if len(part) < size:
            raise InputError(f"{self.what} is cut short or damaged; run `asr graph` again")
        self.place = -(-(self.place + size) // 8) * 8
        return part.view(kind)


def text_of(lines: Sequence[str]) -> NDArray[np.uint8]:
    """The lines as UTF-8 bytes, each with a line end."""
    return np.frombuffer("".join(line + "\n" for line in lines).encode(), np.uint8)


def lines_of(text: NDArray[np.uint8], count: int, what: str) -> list[str]:
    """The lines that `text_of` encoded. Raises InputError for other than `count` lines of UTF-8."""
    try:
        lines = text.tobytes().decode().split("\n")[:-1]
    except UnicodeDecodeError as e:
        raise InputError(f"{what}: its words are not UTF-8 ({e}); run `asr graph` again") from None
    if len(lines) != count:
        raise InputError(f"{what} lists {len(lines)} words instead of {count}; run `asr graph` again")
    return lines
