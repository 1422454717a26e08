"""How much memory this process holds, and a ceiling that a build does not pass."""

import ctypes
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from asr.errors import InputError

_STATUS = Path("/proc/self/statm")
_Part = TypeVar("_Part")


def peak_mb() -> int:
    """The largest resident memory of the process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def resident_mb() -> int:
    """What is resident now; where the system does not tell, the largest so far."""
    try:
        return int(_STATUS.read_text().split()[1]) * resource.getpagesize() // 2**20
    except OSError:
        return peak_mb()


def give_back() -> None:
    """Freed memory goes back to the system, where the C library knows how (glibc keeps it otherwise)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


@dataclass(frozen=True)
class Ceiling:
    """`limit_mb` of resident memory for a build, None for no limit; `num_ngrams` of the grammar, for the advice."""

    limit_mb: int | None
    num_ngrams: int

    def check(self, needed_mb: int, what: str) -> None:
        """Raises InputError with advice when `needed_mb` is more than the limit."""
        if self.limit_mb is not None and needed_mb > self.limit_mb:
            fitting = int(0.9 * self.num_ngrams * self.limit_mb / needed_mb)
            raise InputError(
                f"the graph {what} {needed_mb} MB, more than graph.memory_mb={self.limit_mb}; prune the language model "
                f"to {fitting} n-grams (`asr lm prune`), take fewer words, or search a dynamic graph "
                "(graph.kind=dynamic)"
            )

    def watch(self, parts: Iterable[_Part], name: str, total: int, size: Callable[[_Part], int]) -> Iterator[_Part]:
        """The parts one by one, with a bar over `total` states when they take long; the memory is checked at each."""
        with tqdm(total=total, desc=name, unit=" states", unit_scale=True, delay=2.0, leave=False) as bar:
            for part in parts:
                self.check(resident_mb(), "takes more than")
                yield part
                bar.update(size(part))
