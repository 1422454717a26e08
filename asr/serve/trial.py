"""A candidate beside the current recogniser: it answers a share of the requests, or hears them and answers none.

Its work has threads of its own, which nothing waits for. A candidate that raises, or does not come to an end, can fail
no request: the current recogniser answers what it could not (asr.serve.service.Service.by_turn).
"""

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from prometheus_client import CollectorRegistry, Counter

from asr.config import Config
from asr.errors import InputError, places
from asr.flywheel.request import share_of
from asr.serve.access import Caller
from asr.serve.engine import BEGUN, Engine
from asr.serve.modes import Modes

T = TypeVar("T")
STUCK_S = 120.0  # for a minute of sound at most
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """Recognisers, and the threads in which they work."""

    modes: Modes
    engine: Engine


class Trial:
    """Opens the candidate `cfg.serve.candidate`. Raises InputError if it cannot be opened, or is for nothing."""

    def __init__(self, cfg: Config, registry: CollectorRegistry):
        share = cfg.serve.candidate_share
        assert cfg.serve.candidate is not None
        if not share and cfg.serve.log is None:
            raise InputError("with serve.candidate_share=0 the candidate answers nothing, and what it hears goes to "
                             "the log of requests; name one, serve.log=exp/log, or set a share")  # fmt: skip
        modes = Modes.load(replace(cfg, bundle=cfg.serve.candidate))
        self._engine = TrialEngine(cfg.serve, cfg.threads)
        self.arm = Arm(modes, self._engine)
        self._share, self._salt = share, " ".join(modes.models.values())
        self.answered = Counter("asr_candidate_answered", "Requests and live sessions that the candidate took",
                                registry=registry)  # fmt: skip
        self.failed = Counter("asr_candidate_failed", "Requests that the candidate failed at", registry=registry)

    @property
    def is_shadow(self) -> bool:
        return not self._share

    @property
    def is_stuck(self) -> bool:
        return self._engine.is_stuck

    def takes(self, caller: Caller) -> bool:
        """Whether it is the candidate's turn: the hash of the key decides, or chance where no keys are required. A
        request that would have to wait for it goes to the current recogniser."""
        engine = self._engine
        if engine.is_stuck or engine.taken >= min(engine.most, BEGUN * engine.threads):
            return False
        return share_of(caller.id or uuid.uuid4().hex, self._salt) < self._share

    def fail(self, error: Exception) -> None:
        """Notes what the candidate could not answer."""
        self.failed.inc()
        _log.error("the candidate failed, and the current recogniser answered:\n%s", places(error))


class TrialEngine(Engine):
    """The engine of a candidate, whose threads may never come back. `is_stuck`: a step took too long, also one within
    a stream; it should get no more work."""

    is_stuck = False

    def pool(self, name: str) -> Executor:
        return LooseThreads(self.threads, f"candidate {name}")

    async def do(self, work: Callable[[], T]) -> T:
        """Raises asyncio.TimeoutError if the work does not come to an end."""
        return await self._ended(super().do(work))

    async def live(self, work: Callable[[], T]) -> T:
        return await self._ended(super().live(work))

    async def _ended(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wait_for(work, STUCK_S)
        except asyncio.TimeoutError:
            if not self.is_stuck:
                self.is_stuck = True
                _log.error("the candidate took more than %g s for one step; it gets no more requests", STUCK_S)
            raise


class LooseThreads(Executor):
    """Threads for which no process waits at its end."""

    def __init__(self, number: int, name: str):
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._number = number
        for k in range(number):
            threading.Thread(target=self._run, name=f"{name} {k}", daemon=True).start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads when they have done what waits; never waits for them."""
        for _ in range(self._number):
            self._work.put(None)

    def _run(self) -> None:
        torch.set_num_threads(1)
        while (item := self._work.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as e:  # as every executor
                future.set_exception(e)
            del future, item, work  # nothing is kept while the thread waits
