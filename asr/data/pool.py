"""Work on one utterance after the other, done by threads of this process or by other processes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
