"""Lines of text files, however packed and however long."""

import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from asr.errors import InputError

LINE_LIMIT = 1 << 20  # bytes; a longer line is no sentence, and memory stays bounded


_CHUNK = LINE_LIMIT // 2  # bytes read at a time


_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Lines:
    """The lines of a file as bytes, taken in blocks. `number` counts the lines taken so far.

    Files packed with gzip or xz are known by their first bytes; "-" is the standard input. Reading that takes longer
    than two seconds shows a bar. Everything raises InputError naming the file, and the line where there is one.
    """

    def __init__(self, path: str | Path):
        self.name = "standard input" if str(path) == "-" else str(path)
        self.number = 0
        try:
            self._raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else open(path, "rb")  # noqa: SIM115
            self._file = _unpacked(self._raw)
        except _UNREADABLE as e:
            raise InputError(f"cannot read {self.name}: {e}") from e
        size = None if str(path) == "-" else os.path.getsize(path)
        self._bar = tqdm(total=size, unit="B", unit_scale=True, desc=f"read {self.name}", delay=2.0, leave=False)

    def chunk(self) -> bytes:
        """The next lines, whole ones, about half a MiB together; empty at the end of the file."""
        try:
            head = self._file.read(_CHUNK)
            rest = b"" if head.endswith(b"\n") else self._file.readline(LINE_LIMIT)
        except _UNREADABLE as e:
            raise InputError(f"{self.name}: cannot be read on behind line {self.number}: {e}") from e
        chunk = head + rest
        if len(rest) >= LINE_LIMIT - _CHUNK:  # otherwise none can be too long
            longest = next((i for i, line in enumerate(chunk.split(b"\n")) if len(line) >= LINE_LIMIT), None)
            if longest is not None:
                raise InputError(
                    f"{self.name}:{self.number + longest + 1}: the line is longer than {LINE_LIMIT} bytes; "
                    "put each sentence on a line of its own"
                )
        self.number += chunk.count(b"\n") + (not chunk.endswith(b"\n") and bool(chunk))
        if self._raw.seekable():
            self._bar.update(self._raw.tell() - self._bar.n)
        return chunk

    def blocks(self) -> Iterator[list[bytes]]:
        """Lists of lines without their line ends."""
        while chunk := self.chunk():
            yield chunk.removesuffix(b"\n").split(b"\n")

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._raw is not sys.stdin.buffer:
            self._raw.close()


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    assert isinstance(raw, io.BufferedReader)
    head = raw.peek(6)[:6]
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    return lzma.LZMAFile(raw) if head == b"\xfd7zXZ\0" else raw
