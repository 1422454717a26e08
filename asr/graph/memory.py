"""The resident memory of this process, and a limit that a graph build does not exceed."""

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
    """Peak resident memory of the process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def resident_mb() -> int:
    """Resident memory now; the peak if the system has no /proc."""
    try:
        return int(_STATUS.read_text().split()[1]) * resource.getpagesize() // 2**20
    except OSError:
        return peak_mb()


def give_back() -> None:
    """Return freed memory to the system. Only glibc needs this; elsewhere it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


@dataclass(frozen=True)
class Ceiling:
    """A limit on the resident memory of a build; None means no limit. `num_ngrams` of the grammar serves the advice."""

    limit_mb: int | None
    num_ngrams: int

    def check(self, needed_mb: int, what: str) -> None:
        """Raises InputError with advice if `needed_mb` exceeds the limit."""
        if self.limit_mb is not None and needed_mb > self.limit_mb:
            fitting = int(0.9 * self.num_ngrams * self.limit_mb / needed_mb)
            raise InputError(
                f"the graph {what} {needed_mb} MB, more than graph.memory_mb={self.limit_mb}; prune the language model "
                f"to {fitting} n-grams (`asr lm prune`), use fewer words, or build a dynamic graph "
                "(graph.kind=dynamic)"
            )

    def watch(self, parts: Iterable[_Part], name: str, total: int, size: Callable[[_Part], int]) -> Iterator[_Part]:
        """Yield the parts and check the memory at each. A bar over `total` states appears after two seconds."""
        with tqdm(total=total, desc=name, unit=" states", unit_scale=True, delay=2.0, leave=False) as bar:
            for part in parts:
                self.check(resident_mb(), "takes more than")
                yield part
                bar.update(size(part))
