"""Members of plain tar files, by their place: `corpus/shard-00001.tar:1536:32044` has file, offset and size in bytes.

The file may be an object of a store (asr.remote). A manifest of such places is the index of the shards that
`asr data shard` writes: any part of the toolkit reads a recording of it as if it were a file. Within `read_ahead`, what
lies around a member is read with it and kept, so that members that are close to each other take one request.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

from asr import remote
from asr.errors import InputError

HEADER = 512  # bytes before the content
BLOCK = 2 << 20  # bytes read at a time within `read_ahead`
KEPT = 128  # blocks

_PLACE = re.compile(r"(.+\.tar):(\d{1,18}):(\d{1,18})", re.DOTALL)
_blocks: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()  # asked for, or there
_lock = threading.Lock()
_readers = 0  # within `read_ahead`


class Member(NamedTuple):
    file: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}:{self.size}"


def member_of(path: str) -> Member | None:
    """None for a path of another form. No file is asked for: a corpus may have 10^7 members on a slow file system."""
    found = _PLACE.fullmatch(path)
    return Member(found[1], int(found[2]), int(found[3])) if found else None


@contextmanager
def read_ahead() -> Iterator[None]:
    """Around reading members in about the order of their places, by any threads of the process."""
    global _readers
    with _lock:
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1


def forget() -> None:
    """Drops the blocks: tar files have been written again."""
    with _lock:
        _blocks.clear()


def _forget_after_fork() -> None:
    """No thread of the process that forked goes on here, neither one that reads a block nor one that has the lock."""
    global _lock
    _lock = threading.Lock()
    _blocks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def read(member: Member) -> bytes:
    """The content. Raises InputError if the file cannot be read, ends before, or has no such member there."""
    return _with_header(member)[HEADER:]


def name_of(member: Member) -> str:
    """The name in the tar file. Raises InputError as `read` does."""
    return _with_header(member)[:100].rstrip(b"\0").decode(errors="replace")


def _with_header(member: Member) -> bytes:
    start, end = member.offset - HEADER, member.offset + member.size
    found = b""
    if start >= 0:
        found = _kept(member.file, start, end) if _readers else _range(member.file, start, end)
    if len(found) < end - start:
        raise InputError(f"{member.file} ends within the member at {member.offset}; copy the file again")
    if found[257:262] != b"ustar" or found[124:135] != b"%011o" % member.size:
        raise InputError(f"{member.file} has no member of {member.size} bytes at {member.offset}: it is damaged, or "
                         "not that of the manifest; copy it again, or write shards and manifest again")  # fmt: skip
    return found


def _kept(file: str, start: int, end: int) -> bytes:
    parts = [_block(file, number) for number in range(start // BLOCK, -(-end // BLOCK))]
    first = start - start // BLOCK * BLOCK
    return b"".join(parts)[first : first + end - start]


def _block(file: str, number: int) -> bytes:
    """A block is asked for once; other threads that need it wait. One that could not be read is tried again."""
    with _lock:
        block = _blocks.get((file, number))
        is_first = block is None
        if block is None:
            block = _blocks[file, number] = Future()
        _blocks.move_to_end((file, number))
        while len(_blocks) > KEPT:
            _blocks.popitem(last=False)
    if is_first:
        try:
            block.set_result(_range(file, number * BLOCK, (number + 1) * BLOCK))
        except BaseException as e:
            with _lock:
                if _blocks.get((file, number)) is block:
                    del _blocks[file, number]
            block.set_exception(e)
    return block.result()


def _range(file: str, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, or to the end of the file."""
    if remote.is_remote(file):
        return remote.read_range(file, start, end)
    try:
        with open(file, "rb", buffering=0) as opened:
            opened.seek(start)
            parts, left = [], end - start
            while left > 0 and (part := opened.read(left)):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
    except OSError as e:
        raise InputError(f"cannot read {file}: {e.strerror}; check the path of the shard") from e
