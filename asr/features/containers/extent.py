"""How far the samples of an uncompressed recording reach, whatever the header says.

Writers that are killed, or write to a pipe, leave a length of 0, of 2 or of 4 GiB; recordings are joined by `cat`;
copies are cut. The samples that follow a length that is not known reach to the end of the file, or to the next header.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

BLOCK = 1 << 20
LITTLE = 64  # bytes behind the samples that may be anything
STREAMED = ((0x7EFF0000, 0x7F010000), (0x7FFF0000, 0x80010000), (0xFFFF0000, 0x100000000), (1 << 62, 1 << 64))
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
OTHER_CHUNKS = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"fact",
    b"cue ",
    b"JUNK",
    b"PAD ",
    b"iXML",
    b"INFO",
    b"NAME",
    b"ANNO",
    b"info",
)


@dataclass(frozen=True)
class Extent:
    """Samples at `start`: `length` bytes are there of `promised`; `end` is where the next recording may begin."""

    start: int
    length: int
    promised: int
    end: int

    @property
    def is_cut(self) -> bool:
        return self.promised > self.length


def read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def is_streamed(declared: int) -> bool:
    """Whether a length is one that writers put down when they do not know it."""
    return any(low <= declared < high for low, high in STREAMED)


def measure(
    file: IO[bytes],
    size: int,
    start: int,
    declared: int | None,
    magic: bytes,
    is_header: Callable[[bytes], bool],
    skip_chunks: Callable[[int], int] = lambda at: at,
) -> Extent:
    """The samples at `start`, whose header declares `declared` bytes (None: a length that is not known).

    `is_header` recognises the first 64 bytes of another recording of this kind, which begin with `magic`.
    `skip_chunks` skips the chunks that may follow the samples.
    """
    there = max(0, size - start)
    if declared is None or (declared > there and is_streamed(declared)):
        return _to_the_end(file, size, start, magic, is_header)
    if declared > there:
        counts_header = declared in (size, size - 8)  # of the whole file, or of all but its first chunk's header
        return Extent(start, there, there if counts_header else declared, size)
    for end in (start + declared + declared % 2, start + declared):  # some writers forget the byte of padding
        after = skip_chunks(min(end, size))
        if is_header(read_at(file, after, LITTLE)):
            return Extent(start, declared, declared, after)
        if after > end or size - after < LITTLE or read_at(file, after, 16).startswith(TAGS):
            return Extent(start, declared, declared, size)
    if declared and is_zero(file, start + declared, size):
        return Extent(start, declared, declared, size)
    return _to_the_end(file, size, start, magic, is_header, start + declared)


def _to_the_end(
    file: IO[bytes], size: int, start: int, magic: bytes, is_header: Callable[[bytes], bool], first: int | None = None
) -> Extent:
    end = find(file, first or start, size, magic, is_header)
    end = size if end is None else end
    length = max(0, end - start)
    return Extent(start, length, length, end)


def find(file: IO[bytes], first: int, size: int, magic: bytes, is_header: Callable[[bytes], bool]) -> int | None:
    """The first offset from `first` on where `magic` begins what `is_header` recognises."""
    at = first
    while at < size:
        block = read_at(file, at, BLOCK)
        found = block.find(magic)
        while found >= 0:
            if is_header(read_at(file, at + found, LITTLE)):
                return at + found
            found = block.find(magic, found + 1)
        if len(block) < BLOCK:
            return None
        at += BLOCK - len(magic) + 1
    return None


def is_zero(file: IO[bytes], at: int, size: int) -> bool:
    """Whether all bytes from `at` on are 0, as those with which file systems and tapes fill blocks."""
    while at < size:
        block = read_at(file, at, BLOCK)
        if not block or block.count(0) < len(block):
            return not block
        at += len(block)
    return True


def skip_chunks(file: IO[bytes], size: int, at: int, order: str, size_bytes: int = 4) -> int:
    """Where the chunks (4 letters, a size, data) that begin at `at` end; `at` itself if no chunks begin there."""
    first = at
    while at + 4 + size_bytes <= size:
        head = read_at(file, at, 4 + size_bytes)
        length = int.from_bytes(head[4:], order)  # type: ignore[arg-type]
        end = at + 4 + size_bytes + length
        if not all(32 <= byte < 127 for byte in head[:4]) or head[:4] in (b"RIFF", b"RIFX", b"FORM", b"caff"):
            break
        if end > size:
            return size if head[:4] in OTHER_CHUNKS else first
        at = min(end + (length % 2 if size_bytes == 4 else 0), size)
    is_end = size - at < LITTLE or read_at(file, at, 4) in (b"RIFF", b"RIFX", b"FORM", b"caff")
    return at if is_end or read_at(file, at, 16).startswith(TAGS) else first
