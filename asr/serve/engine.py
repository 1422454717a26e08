"""The threads that recognise, and the bounded queue before them.

    async with engine.place():                # or Refused(503) with Retry-After
        result = await engine.do(work)        # work() runs in a worker thread

Requests begin in the order in which they came. A long file is recognised a minute at a time, and other requests have
their turn in between. Live streams have threads of their own, so that no file delays a stream:

    await engine.live(partial(stream.accept, samples, rate_hz))

The acoustic model runs on one thread and on one request at a time in each worker, never on a batch of several requests:
sums in another order differ in their last bits, and the same audio must give the same transcript under any load.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import torch

from asr.serve.errors import Refused
from asr.serve_options import ServeConfig

T = TypeVar("T")
FIRST_GUESS_S = 1.0  # the time of a request, before one was answered
MEMORY = 0.1  # weight of the latest request in the mean time
BEGUN = 4  # requests per thread that have begun, and hold their decoded sound in memory


class Engine:
    """`threads` workers for requests, of which `queue` more may wait, and as many for live streams. 0: one per core."""

    def __init__(self, cfg: ServeConfig, threads: int = 0):
        self.threads = threads or len(os.sched_getaffinity(0))
        self.most = self.threads + cfg.queue
        self.taken = 0  # places: requests that run or wait
        self.mean_s = FIRST_GUESS_S
        self._begun = asyncio.Semaphore(BEGUN * self.threads)
        self._workers, self._live = self.pool("recognise"), self.pool("live")

    def pool(self, name: str) -> Executor:
        return ThreadPoolExecutor(self.threads, name, initializer=torch.set_num_threads, initargs=(1,))

    @property
    def running(self) -> int:
        return min(self.taken, self.threads)

    @property
    def waiting(self) -> int:
        return max(0, self.taken - self.threads)

    @property
    def wait_s(self) -> float:
        """How long the requests that run or wait will take."""
        return self.mean_s * self.taken / self.threads

    def check(self) -> None:
        """Raises Refused(503) if no place is free. Called before a body is read, so that refusing costs nothing."""
        if self.taken >= self.most:
            raise Refused(503, "the service is busy; repeat the request later", self.wait_s, code="overloaded")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """A place among the requests that run or wait, entered when its turn comes -> when it was taken.

        Raises Refused(503) if there is none.
        """
        self.check()
        self.taken += 1
        start_s = time.perf_counter()
        try:
            async with self._begun:
                yield start_s
        finally:
            own_s = (time.perf_counter() - start_s) * self.threads / self.taken
            self.mean_s += MEMORY * (own_s - self.mean_s)
            self.taken -= 1

    async def do(self, work: Callable[[], T]) -> T:
        """The result of `work()`, which a worker runs when those before it are done."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    async def live(self, work: Callable[[], T]) -> T:
        """As `do`, for the short pieces of work of live streams."""
        return await asyncio.get_running_loop().run_in_executor(self._live, work)

    def close(self) -> None:
        """Waits for what the threads are doing, and for no work that has not begun."""
        self._workers.shutdown(cancel_futures=True)
        self._live.shutdown(cancel_futures=True)
