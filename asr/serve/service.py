"""What the handlers of all requests share. A handler finds it as `request.app.state.service`."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from asr.config import Config
from asr.hypothesis import Hypothesis
from asr.serve.access import Caller, KeyRing
from asr.serve.client_secrets import ClientSecrets
from asr.serve.engine import Engine
from asr.serve.metrics import Metrics, Stages
from asr.serve.modes import Modes
from asr.serve.shares import Share
from asr.serve.sockets import Sessions

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """An answer, for those who keep it until the caller corrects it."""

    id: str
    caller: Caller
    mode: str
    text: str
    samples: np.ndarray  # (T,) float32
    sample_rate_hz: int


@dataclass
class Service:
    """`keys`: None if no keys are required. `keep`: takes each answer and returns at once, in any thread; None keeps
    none. `on_drain`: awaited when the service is told to end, before connections are closed."""

    cfg: Config
    modes: Modes
    engine: Engine
    metrics: Metrics
    keys: KeyRing | None = None
    keep: Callable[[Answered], None] | None = None
    on_drain: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    is_ready: bool = False  # after the warm-up, until the drain
    is_draining: bool = False
    accepted: int = 0  # requests that are not answered yet, besides those for the service's health
    client_secrets: ClientSecrets = field(default_factory=ClientSecrets)

    def __post_init__(self) -> None:
        cfg = self.cfg.serve
        self.sessions = Sessions(cfg.max_sessions, cfg.sessions_per_key)  # live streams
        of_key = cfg.requests_per_key or max(1, self.engine.most // 2)
        message = "this key has {most} requests at a time, as many as it may; repeat the request when one is answered"
        self.requests = Share(of_key, message, "too_many_requests")
        self.on_drain.append(partial(self.sessions.drain, self.cfg.serve.drain_timeout_s))

    def record(self, id: str, mode: str, hypothesis: Hypothesis, level_db: float, stages: Stages) -> None:
        """Measures an answer. Its text goes into the log only if that is wanted."""
        self.metrics.recognised(mode, hypothesis, level_db, stages)
        if self.cfg.serve.log_text:
            _log.info("%s %s: %s", id, mode, hypothesis.text)

    async def drain(self) -> None:
        """Tells load balancers, and ends what would not end by itself."""
        self.is_ready, self.is_draining = False, True
        for end in self.on_drain:
            await end()
