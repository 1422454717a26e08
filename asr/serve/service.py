"""What the handlers of all requests share. A handler finds it as `request.app.state.service`."""

from dataclasses import dataclass, field

from asr.config import Config
from asr.serve.access import KeyRing
from asr.serve.engine import Engine
from asr.serve.modes import Modes


@dataclass
class Service:
    cfg: Config
    modes: Modes
    engine: Engine
    keys: KeyRing | None = None  # None: no keys are required
    is_ready: bool = field(default=False)  # after the warm-up, until the drain
