"""Results of `asr transcribe` before its end, in a file or in a store: what an interrupted command continues from."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from asr import remote
from asr.errors import naming
from asr.files import atomic_write

EVERY_S = 30.0  # between two objects


class Partial:
    """The results of a command that has not come to its end: lines of a file, the first of which is a fingerprint."""

    def __init__(self, path: Path):
        self.path = path

    def lines(self) -> Iterator[str]:
        if self.path.exists():
            with open(self.path, encoding="utf-8", errors="replace") as file:
                yield from (line.removesuffix("\n") for line in file)

    def begin(self, lines: Sequence[str]) -> None:
        """Replaces all lines; a fingerprint alone waits for the first result."""
        self.path.unlink(missing_ok=True) if len(lines) == 1 else write(self.path, _joined(lines))
        self.start = _joined(lines) if len(lines) == 1 else ""

    def append(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{self.start}{line}\n")
        self.start = ""

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class PartialObjects:
    """The same in a store, whose objects cannot be appended to: an object per `EVERY_S` seconds, with the fingerprint.

    A command that is killed loses the results of the last `EVERY_S` seconds.
    """

    def __init__(self, url: str):
        self.url = url
        self.known = sorted(remote.listed(url))
        self.waiting: list[str] = []

    def lines(self) -> Iterator[str]:
        fingerprint = None
        for url in self.known:
            own, *lines = remote.read(url).decode(errors="replace").removesuffix("\n").split("\n")
            if fingerprint is None:
                yield own
            if own == (fingerprint := fingerprint or own):  # others are left of a command with other options
                yield from lines

    def begin(self, lines: Sequence[str]) -> None:
        """Replaces all lines: what cannot be written is known before the work."""
        self.fingerprint, *self.waiting = lines
        old, self.count = self.known, 1 + max((_number(url) for url in self.known), default=0)
        self._flush()
        remote.delete(old)

    def append(self, line: str) -> None:
        self.waiting.append(line)
        if time.monotonic() - self.flushed >= EVERY_S:
            self._flush()

    def remove(self) -> None:
        remote.delete(sorted(remote.listed(self.url)))

    def _flush(self) -> None:
        remote.write(f"{self.url}{self.count:08d}", _joined([self.fingerprint, *self.waiting]).encode())
        self.waiting, self.count, self.flushed = [], self.count + 1, time.monotonic()


def _number(url: str) -> int:
    name = url.rpartition("/")[2]
    return int(name) if name.isdigit() else 0


def write(path: Path | str, text: str) -> None:
    """To a file or, by its URL, to an object; either is the old one or the new one for whoever reads it."""
    if isinstance(path, str):
        remote.write(path, text.encode())
        return
    with atomic_write(path) as file:
        file.write(text)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def partial_of(path: Path | str) -> "Partial | PartialObjects":
    if isinstance(path, Path):
        return Partial(path.with_name(path.name + ".partial"))
    return PartialObjects(f"{path}.partial/")
