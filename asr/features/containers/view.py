"""One recording in a file, and the bytes by which libsndfile reads it whole."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO

Piece = bytes | tuple[int, int]  # bytes to insert, or (offset, length) of a part of the file


@dataclass(frozen=True)
class Recording:
    """A recording that a file holds; a file of joined recordings holds several."""

    kind: str  # format, as messages name it
    pieces: tuple[Piece, ...] = ()  # what libsndfile reads; (): the file as it is
    frames: int | None = None  # frames that the file promises; None: those that libsndfile counts
    exact: bool = True  # whether the promise is exact; otherwise the codec may give a few frames less
    cut: str = ""  # why the end of the recording is known to be missing; empty if it is not
    tail: int = 0  # frames at the end that libsndfile reaches exactly by reading only, not by seeking


MORE_BYTES = "its header announces more bytes than it has"  # a reason of `cut`


class View(io.RawIOBase):
    """Pieces of a file and inserted bytes as one seekable binary file."""

    def __init__(self, file: IO[bytes], pieces: Sequence[Piece]):
        self.file, self.at = file, 0
        self.pieces = [piece for piece in pieces if piece and piece[1:] != (0,)]  # those that are not empty
        lengths = [len(piece) if isinstance(piece, bytes) else piece[1] for piece in self.pieces]
        self.ends = list(accumulate(lengths)) or [0]
        self.starts = [end - length for end, length in zip(self.ends, lengths, strict=False)]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.ends[-1]}[whence]
        self.at = max(0, base + offset)  # libsndfile seeks before the start of damaged files
        return self.at

    def read_at(self, offset: int, size: int) -> bytes:
        self.seek(offset)
        return self.read(size) or b""

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Fill `buffer` as far as the view goes; libsndfile takes fewer bytes for the end of the file."""
        target, done = memoryview(buffer).cast("B"), 0
        number = bisect_right(self.ends, self.at)
        while done < len(target) and number < len(self.pieces):
            piece, inside = self.pieces[number], self.at - self.starts[number]
            size = min(len(target) - done, self.ends[number] - self.at)
            if isinstance(piece, bytes):
                data = piece[inside : inside + size]
            else:
                self.file.seek(piece[0] + inside)
                data = self.file.read(size)
            if not data:
                break
            target[done : done + len(data)] = data
            done, self.at = done + len(data), self.at + len(data)
            number += self.at == self.ends[number]
        return done


def patched(size: int, changes: dict[int, bytes], start: int = 0) -> tuple[Piece, ...]:
    """The file from `start` to `size` with `changes`: offset -> new bytes."""
    pieces: list[Piece] = []
    at = start
    for offset in sorted(changes):
        pieces += [(at, offset - at), changes[offset]]
        at = offset + len(changes[offset])
    return (*pieces, (at, size - at))
