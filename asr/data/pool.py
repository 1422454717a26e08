"""Work on one utterance after the other, done by threads of this process or by other processes."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from asr.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool(Protocol):
    """Yields the result of `work` for each item, in their order; an InputError for one that kills the processes that
    work on it. Other processes get `work`, the items and the results by pickle."""

    def __call__(self, work: Callable[[Any], Result], items: Iterable[Any]) -> Iterator[Result | InputError]: ...


def in_threads(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """At most four items per thread are queued, however many there are."""
    with ThreadPoolExecutor(threads) as executor:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def in_processes(processes: int, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """As a `Pool`, but raises InputError if a process dies, since none of the others can go on."""
    items = list(items)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(max(1, min(processes, len(items))), context, _begin) as executor:
        futures = [executor.submit(work, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            raise InputError("a process of this command was killed, perhaps for lack of memory; the same command "
                             "continues with what the processes have finished") from None  # fmt: skip
        finally:
            for future in futures:
                future.cancel()


def _begin() -> None:
    """Lets Ctrl-C end this process without a word, and the end of its parent too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
