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
    """`keys`: None if no keys are required. `keep`: called in a thread with each answer; None keeps none. `on_drain`:
    awaited when the service is told to end, before connections are closed."""

    cfg: Config
    modes: Modes
    engine: Engine
    metrics: Metrics
    keys: KeyRing | None = None
    keep: Callable[[Answered], None] | None = None
    on_drain: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    is_ready: bool = False  # after the warm-up, until the drain
    client_secrets: ClientSecrets = field(default_factory=ClientSecrets)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.cfg.serve.max_sessions)  # live streams
        self.on_drain.append(partial(self.sessions.drain, self.cfg.serve.drain_timeout_s))

    def record(self, id: str, mode: str, hypothesis: Hypothesis, level_db: float, stages: Stages) -> None:
        """Measures an answer. Its text goes into the log only if that is wanted."""
        self.metrics.recognised(mode, hypothesis, level_db, stages)
        if self.cfg.serve.log_text:
            _log.info("%s %s: %s", id, mode, hypothesis.text)

    async def drain(self) -> None:
        """Tells load balancers, and ends what would not end by itself."""
        self.is_ready = False
        for end in self.on_drain:
            await end()
