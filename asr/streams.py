"""Outputs that are no files on a disk: pipes, terminals, /dev/stdout. They are written in place and never replaced."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def is_stream(path: str | Path) -> bool:
    """Whether a path is there and is neither a folder nor a file that could be replaced."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    name = os.path.abspath(path)
    is_of_system = os.path.dirname(name) in ("/dev", "/dev/fd") or name.startswith("/proc/")
    return not stat.S_ISDIR(mode) and (is_of_system or not stat.S_ISREG(mode))


@contextmanager
def stream_write(path: Path, mode: str) -> Iterator[IO]:
    """A temporary file. On success its content is written to the stream `path`, on error nothing is."""
    encoding = None if "b" in mode else "utf-8"
    with tempfile.TemporaryFile(mode.replace("w", "w+"), encoding=encoding) as file:
        yield file
        file.flush()
        written = file if "b" in mode else file.buffer  # type: ignore[attr-defined]
        written.seek(0)
        with os.fdopen(_open(path), "wb") as out:
            shutil.copyfileobj(written, out)


def _open(path: Path) -> int:
    """A descriptor of the stream. The standard output is shared, not opened again at its beginning."""
    sys.stdout.flush()
    for standard in (1, 2):
        if os.path.samestat(os.stat(path), os.fstat(standard)):
            return os.dup(standard)
    return os.open(path, os.O_WRONLY | os.O_APPEND)
