"""A cache of build stages. The key of an entry is a hash of all inputs of the stage.

An entry is an .npz file, whose arrays have checksums. Entries are written atomically, an unreadable entry counts as
missing, and several processes may share a folder. The most recently used entries of each kind are kept.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from asr.array_files import DAMAGE
from asr.errors import InputError
from asr.files import atomic_write

FORMAT = "3"  # of the stages' arrays; changing it invalidates existing entries
_KEPT = 4  # entries per kind
_log = logging.getLogger(__name__)


def digest(*parts: Any) -> str:
    """A hash of strings, numbers, lists of strings and arrays."""
    found = hashlib.blake2b(FORMAT.encode(), digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            data = part.dtype.str.encode() + part.tobytes()
        else:
            data = ("\n".join(part) if isinstance(part, list) else repr(part)).encode()
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def file_digest(path: str | Path) -> str:
    """A hash of a file's bytes. Raises InputError if the file cannot be read."""
    found = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e}") from e
    return found.hexdigest()


class Cache:
    """A folder of entries; None disables the cache."""

    def __init__(self, folder: str | Path | None):
        self.folder = Path(folder) if folder else None

    def load(self, kind: str, key: str) -> dict[str, np.ndarray] | None:
        """The arrays stored under `key`; None if there is no readable entry."""
        if self.folder is None or not (path := self._path(kind, key)).exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            os.utime(path)  # now the most recently used
        except DAMAGE as e:
            _log.warning("%s is damaged (%s); it will be rebuilt", path, e)
            return None
        _log.info("%s: reused from %s", kind, path)
        return arrays

    def store(self, kind: str, key: str, arrays: dict[str, Any]) -> None:
        """Store an entry. A write error, such as a full disk, is only logged."""
        if self.folder is None:
            return
        try:
            with atomic_write(self._path(kind, key), "wb") as file:
                np.savez(file, **arrays)
            aged = sorted(self.folder.glob(f"{kind}-*.npz"), key=_age)
            for path in aged[_KEPT:]:
                path.unlink(missing_ok=True)
        except OSError as e:
            _log.warning("%s could not be cached: %s", kind, e)

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{kind}-{key}.npz"


def _age(path: Path) -> float:
    """Sort key, newest first. A file that another process has just removed counts as oldest."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
