"""What a fuzz target is. Whatever the bytes are, a target returns or raises InputError."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError


@dataclass(frozen=True)
class Target:
    read: Callable[[Path], object]  # reads a file whose bytes are the input
    seeds: Callable[[Path], list[bytes]]  # small valid inputs, made in an empty folder
    suffix: str = ""


TARGETS: dict[str, Target] = {}


def target(name: str, *seeds: bytes | Callable[[Path], list[bytes]], suffix: str = "") -> Callable:
    def add(read: Callable[[Path], object]) -> Callable[[Path], object]:
        def make(folder: Path) -> list[bytes]:
            return [data for seed in seeds for data in ([seed] if isinstance(seed, bytes) else seed(folder))]

        TARGETS[name] = Target(read, make, suffix)
        return read

    return add


def run(name: str, data: bytes, folder: Path) -> bool:
    """Read the bytes as a file of the target. Returns whether they were accepted; InputError is a refusal."""
    path = folder / f"input{TARGETS[name].suffix}"
    path.write_bytes(data)
    try:
        TARGETS[name].read(path)
    except InputError as e:
        assert str(e) and "\n" not in str(e).strip(), f"not one sentence: {e!r}"
        return False
    return True
