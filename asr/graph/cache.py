"""Stages of earlier builds, kept under the hash of all that they were made from.

An entry is an .npz file: arrays with checksums. It appears whole or not at all, one that cannot be read counts as
absent, and any number of processes may share a folder. The newest few of each kind stay.
"""

import hashlib
import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import InputError
from asr.files import atomic_write

FORMAT = "2"  # of what stages hold; another one makes all earlier entries strangers
_KEPT = 4  # entries of a kind
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zlib.error, zipfile.BadZipFile)
_log = logging.getLogger(__name__)


def digest(*parts: Any) -> str:
    """A hash of texts, numbers, lists of texts and arrays."""
    found = hashlib.blake2b(FORMAT.encode(), digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            data = part.dtype.str.encode() + part.tobytes()
        else:
            data = ("\n".join(part) if isinstance(part, list) else repr(part)).encode()
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def file_digest(path: str | Path) -> str:
    """A hash of a file's bytes. Raises InputError when it cannot be read."""
    found = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e}") from e
    return found.hexdigest()


class Cache:
    """A folder of entries; with None nothing is kept."""

    def __init__(self, folder: str | Path | None):
        self.folder = Path(folder) if folder else None

    def load(self, kind: str, key: str) -> dict[str, np.ndarray] | None:
        """What was stored under `key`, None where nothing is or it is damaged."""
        if self.folder is None or not (path := self._path(kind, key)).exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            os.utime(path)  # the last to go
        except _UNREADABLE as e:
            _log.warning("%s is damaged (%s) and is made again", path, e)
            return None
        _log.info("%s: reused from %s", kind, path)
        return arrays

    def store(self, kind: str, key: str, arrays: dict[str, Any]) -> None:
        """A full disk is no error: the stage is then made again next time."""
        if self.folder is None:
            return
        try:
            with atomic_write(self._path(kind, key), "wb") as file:
                np.savez(file, **arrays)
            aged = sorted(self.folder.glob(f"{kind}-*.npz"), key=_age)
            for path in aged[_KEPT:]:
                path.unlink(missing_ok=True)
        except OSError as e:
            _log.warning("%s is not kept for the next build: %s", kind, e)

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{kind}-{key}.npz"


def _age(path: Path) -> float:
    """Newest first; one that another process has just removed is the oldest."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
