"""What the handlers of all requests share. A handler finds it as `request.app.state.service`."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from asr.config import Config
from asr.serve.access import Caller, KeyRing
from asr.serve.engine import Engine
from asr.serve.modes import Modes


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
    cfg: Config
    modes: Modes
    engine: Engine
    keys: KeyRing | None = None  # None: no keys are required
    keep: Callable[[Answered], None] | None = None  # called in a thread with each answer; None keeps none
    is_ready: bool = field(default=False)  # after the warm-up, until the drain
