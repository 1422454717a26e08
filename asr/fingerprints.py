"""Fingerprints of files by content: SHA-256 digests, computed again only for a file that may have changed."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from asr.members import member_of
from asr.remote import is_remote, version

Stamp = tuple[int, int, int, int]  # inode, size, times of the last change of content and of status, in ns

_known: dict[str, tuple[Stamp, str]] = {}  # resolved path -> its digest at that stamp


def part_of(path: str) -> tuple[str, str]:
    """(file, offset) of `x.ark:OFFSET`, a part of an archive, or of `x.tar:OFFSET:SIZE`; (path, "") of any other."""
    if member := member_of(path):
        return member.file, f"{member.offset}:{member.size}"
    file, _, offset = path.rpartition(":")
    return (file, offset) if offset.isdigit() and not os.path.exists(path) else (path, "")


def stamp(path: str | Path) -> Stamp | None:
    """Differs after any write to the file: the status time cannot be set back. None if there is no file."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def digest(path: str | Path | None) -> str | None:
    """The digest of a file's content; None if it cannot be read, which the reader of the file reports."""
    if path is None or not os.path.isfile(path):
        return None
    now, name = stamp(path), os.path.realpath(path)
    if (known := _known.get(name)) and known[0] == now:
        return known[1]
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError:
        return None
    if now is not None:
        _known[name] = now, found.hexdigest()
    return found.hexdigest()


version_of_shard = lru_cache(maxsize=None)(version)  # a shard has thousands of recordings: its store is asked once


def digest_of_input(path: str | None) -> str | None:
    """The digest of a recording or of stored features, of which `x.ark:OFFSET` is a part; of a URL, its version."""
    if path is None:
        return None
    file, offset = part_of(path)
    if is_remote(file):
        found = version_of_shard(file) if offset else version(file)
    else:
        found = digest(file)
    return f"{found}:{offset}" if found and offset else found
