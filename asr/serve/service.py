"""What the handlers of all requests share. A handler finds it as `request.app.state.service`."""

from dataclasses import dataclass, field

from asr.config import Config
from asr.serve.access import KeyRing
from asr.serve.client_secrets import ClientSecrets
from asr.serve.engine import Engine
from asr.serve.modes import Modes
from asr.serve.sockets import Sessions


@dataclass
class Service:
    cfg: Config
    modes: Modes
    engine: Engine
    keys: KeyRing | None = None  # None: no keys are required
    is_ready: bool = field(default=False)  # after the warm-up, until the drain
    sessions: Sessions = field(init=False)  # live streams
    client_secrets: ClientSecrets = field(default_factory=ClientSecrets)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.cfg.serve.max_sessions)
