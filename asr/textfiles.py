"""Lines of UTF-8 text files, plain or packed with gzip, bzip2, xz or zstd.

`lines` is for files that are read as a whole, such as lexicons, manifests and tables. `Lines` is for texts of any size;
it limits the length of a line and shows progress.
"""

import io
import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from asr import filekinds
from asr.errors import InputError

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_LIMIT = 1 << 20  # bytes; a longer line is not a sentence, and memory stays bounded
LONG_LINE_LIMIT = 64 << 20  # bytes; the same for records, such as those of manifests
_CHUNK = LINE_LIMIT // 2  # bytes read at a time
_BOM = b"\xef\xbb\xbf"


def lines(path: str | Path, what: str, form: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of each line of a file.

    Lines end with LF or CRLF and with nothing else: a U+2028 stays inside its line. A byte order mark is removed.
    Raises InputError if the file cannot be read, or naming the line that is not UTF-8. The message calls the file
    `what` and says that `form` was expected, such as "lexicon" and "'word unit unit ...' lines".
    """
    with Lines(path, what, form, limit=LONG_LINE_LIMIT, shows_progress=False) as file:
        yield from file.decoded()


class Span(NamedTuple):
    """The lines of a file from byte `begin` to byte `end`, which are ends of lines; None: the end of the file."""

    begin: int = 0
    end: int | None = None
    lines_before: int = 0  # of the file; for messages


WHOLE = Span()


class Lines:
    """Reads a file in chunks of whole lines. Use it as a context manager.

    Compressed files, and files that are no text, are recognised by their first bytes (`asr.filekinds`); "-" is the
    standard input. A byte order mark is removed. A progress bar appears when reading takes longer than two seconds. All
    errors are InputErrors that name the file, and the line if there is one; `what` and `form` are as in `lines`.
    """

    def __init__(
        self,
        path: str | Path,
        what: str = "text",
        form: str = "one sentence per line",
        limit: int | None = LINE_LIMIT,
        shows_progress: bool = True,
        span: Span = WHOLE,
    ):
        """Lines of `limit` bytes or more are rejected; None sets no limit. Only a file that is not compressed has a
        `span` other than the whole."""
        self.name = "standard input" if str(path) == "-" else str(path)
        self.first = 1  # number of the first line of the latest chunk
        self.number = span.lines_before  # lines read so far
        self._what, self._form, self._limit = what, form, limit
        self._is_begin, self._left = not span.begin, math.inf if span.end is None else span.end - span.begin
        try:
            self._raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else open(path, "rb")  # noqa: SIM115
            assert isinstance(self._raw, io.BufferedReader)
            self._file = filekinds.unpacked(self._raw) if self._is_begin else self._raw
            if not self._is_begin:
                self._raw.seek(span.begin)
        except filekinds.UNREADABLE as e:
            raise self._error(self.name, e) from e
        self._bar = _bar(self.name, path) if shows_progress else None

    def chunk(self) -> bytes:
        """The next lines, about half a MiB of whole lines; empty at the end of the file."""
        try:
            head = self._file.read(int(min(_CHUNK, self._left)))
            rest = b"" if head.endswith(b"\n") or not self._left else self._file.readline(self._limit or -1)
        except filekinds.UNREADABLE as e:
            raise self._error(f"{self.name} beyond line {self.number}", e) from e
        chunk = head + rest
        is_begin, self._is_begin = self._is_begin, False
        if is_begin:
            self._check_kind(chunk)
        self._check_lengths(chunk, rest)
        self._left = max(0, self._left - len(chunk))
        self.first = self.number + 1
        self.number += chunk.count(b"\n") + (not chunk.endswith(b"\n") and bool(chunk))
        if self._bar is not None and self._raw.seekable():
            self._bar.update(self._raw.tell() - self._bar.n)
        return chunk.removeprefix(_BOM) if is_begin else chunk

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """(number, line without its LF) of each line, as bytes."""
        while chunk := self.chunk():
            yield from enumerate(chunk.removesuffix(b"\n").split(b"\n"), self.first)

    def decoded(self) -> Iterator[tuple[int, str]]:
        """(number, line without its LF or CRLF) of each line."""
        while chunk := self.chunk():
            try:
                block: Iterable[str] = chunk.decode().removesuffix("\n").split("\n")
            except UnicodeDecodeError:  # one of the lines is not UTF-8; the lines before it still count
                block = (self.decode(line, self.first + i) for i, line in enumerate(chunk.split(b"\n")))
            yield from enumerate((line.removesuffix("\r") for line in block), self.first)

    def decode(self, line: bytes, number: int) -> str:
        """The text of line `number`. Raises InputError if it is not UTF-8."""
        try:
            return line.decode()
        except UnicodeDecodeError as e:
            raise self._error(f"{self.name}:{number}", f"not UTF-8 ({e})") from e

    def _check_kind(self, chunk: bytes) -> None:
        """Raises InputError if the file, which begins with `chunk`, is no text or has no line ends that are read."""
        if kind := filekinds.foreign(chunk[:512]):
            raise self._error(self.name, kind)
        if b"\n" not in chunk and b"\r" in chunk.rstrip():
            raise self._error(self.name, "its lines end with CR alone; convert it with `tr '\\r' '\\n'`")

    def _check_lengths(self, chunk: bytes, rest: bytes) -> None:
        """Raises InputError for a line that is too long. `rest` is the part of `chunk` after _CHUNK bytes."""
        limit = self._limit
        if limit is None or len(rest) < limit - _CHUNK:  # then no line can be too long
            return
        for number, line in enumerate(chunk.split(b"\n"), self.number + 1):
            if len(line) >= limit:
                raise InputError(f"{self.name}:{number}: the line is longer than {limit} bytes; expected {self._form}")

    def _error(self, where: str, reason: object) -> InputError:
        if isinstance(reason, OSError):
            reason = reason.strerror or reason
        return InputError(f"cannot read the {self._what} {where}: {reason}; expected {self._form} in UTF-8")

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._raw is not sys.stdin.buffer:
            self._raw.close()


def _bar(name: str, path: str | Path) -> "tqdm":
    from tqdm import tqdm  # not needed for `lines`, which the command line's start imports

    size = None if str(path) == "-" else os.path.getsize(path)
    return tqdm(total=size, unit="B", unit_scale=True, desc=f"read {name}", delay=2.0, leave=False)
