"""Atomic writing: a reader sees the old file or the new one, never a part of either."""

import bz2
import gzip
import lzma
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from asr.errors import InputError


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file next to `path`. On success it is synced and renamed to `path`, on error it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        encoding = None if "b" in mode else "utf-8"
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def moved_into(folder: Path, stale: Iterable[str]) -> Iterator[Path]:
    """A temporary folder. On success its files move to `folder`, after files there that match the patterns `stale` have
    been deleted. On error `folder` stays as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as temporary:
        yield Path(temporary)
        for old in [path for pattern in stale for path in folder.glob(pattern)]:
            old.unlink(missing_ok=True)
        for file in Path(temporary).iterdir():
            file.replace(folder / file.name)


@contextmanager
def packed(file: IO[bytes], path: str | Path) -> Iterator[IO[bytes]]:
    """`file` itself, or a compressor that writes to it if `path` ends in .gz, .bz2, .xz or .zst. It stores no time
    stamp, so equal content gives equal files.
    """
    if str(path).endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as out:
            yield out  # type: ignore[misc]
    elif str(path).endswith(".bz2"):
        with bz2.BZ2File(file, "wb") as out:
            yield out
    elif str(path).endswith(".xz"):
        with lzma.LZMAFile(file, "wb", preset=1) as out:
            yield out
    elif str(path).endswith(".zst"):
        try:
            import zstandard  # only needed here
        except ImportError:
            raise InputError(f"{path}: zstd needs `pip install zstandard`; or let the name end in .xz") from None
        with zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False) as out:
            yield out
    else:
        yield file


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
