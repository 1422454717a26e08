"""What the handlers of all requests share. A handler finds it as `request.app.state.service`."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from asr.config import Config
from asr.hypothesis import Hypothesis
from asr.recognizer.options import DecodingOptions
from asr.serve.access import Caller, KeyRing
from asr.serve.client_secrets import ClientSecrets
from asr.serve.engine import Engine
from asr.serve.metrics import Metrics, Stages
from asr.serve.modes import Modes
from asr.serve.shares import Share
from asr.serve.sockets import Sessions
from asr.serve.trial import Arm, Trial

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """An answer, for those who keep it until the caller corrects it, and for the log of requests."""

    id: str
    caller: Caller
    mode: str
    hypothesis: Hypothesis
    samples: np.ndarray | None  # (T,) float32; None: of a live utterance that was too long to be kept
    sample_rate_hz: int
    level_db: float
    seconds: float  # that it took; of a request with the time that it waited
    ignored: tuple[str, ...] = ()  # words and phrases of the request that the recogniser lacks
    model: str = ""  # the version of the recogniser
    options: DecodingOptions = field(default_factory=DecodingOptions)  # of the request
    spoken: Hypothesis | None = None  # before written forms and punctuation; None: `hypothesis` has none
    is_live: bool = False  # an utterance of a stream


@dataclass
class Service:
    """`keys`: None if no keys are required. `keepers`: each takes every answer and returns at once, in any thread.
    `on_drain`: awaited when the service is told to end, before connections are closed."""

    cfg: Config
    modes: Modes
    engine: Engine
    metrics: Metrics
    keys: KeyRing | None = None
    keepers: list[Callable[[Answered], None]] = field(default_factory=list)
    on_drain: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    is_ready: bool = False  # after the warm-up, until the drain
    is_draining: bool = False
    accepted: int = 0  # requests that are not answered yet, besides those for the service's health
    client_secrets: ClientSecrets = field(default_factory=ClientSecrets)
    trial: Trial | None = None

    def __post_init__(self) -> None:
        cfg = self.cfg.serve
        self.sessions = Sessions(cfg.max_sessions, cfg.sessions_per_key)  # live streams
        of_key = cfg.requests_per_key or max(1, self.engine.most // 2)
        message = "this key has {most} requests at a time, as many as it may; repeat the request when one is answered"
        self.requests = Share(of_key, message, "too_many_requests")
        self.on_drain.append(partial(self.sessions.drain, self.cfg.serve.drain_timeout_s))

    def record(self, answered: Answered, stages: Stages) -> None:
        """Measures an answer, and keeps it if that is wanted. Its text is printed only if that is wanted."""
        self.metrics.recognised(answered.mode, answered.hypothesis, answered.level_db, stages)
        if self.cfg.serve.log_text:
            _log.info("%s %s: %s", answered.id, answered.mode, answered.hypothesis.text)
        for keep in self.keepers:
            keep(answered)

    async def by_turn(self, caller: Caller, work: Callable[[Arm], Awaitable[T]]) -> T:
        """The result of `work` by the candidate, if it is its turn, otherwise by the current recogniser, which also
        answers what the candidate fails at."""
        current = Arm(self.modes, self.engine)
        if self.trial is None or not self.trial.takes(caller):
            return await work(current)
        try:
            found = await work(self.trial.arm)
        except Exception as e:
            failure = e
        else:
            self.trial.answered.inc()
            return found
        found = await work(current)  # raises for what is no fault of the candidate
        self.trial.fail(failure)
        return found

    async def drain(self) -> None:
        """Tells load balancers, and ends what would not end by itself."""
        self.is_ready, self.is_draining = False, True
        for end in self.on_drain:
            await end()
