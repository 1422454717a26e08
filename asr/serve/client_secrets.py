"""Keys for browsers that live for minutes: POST /v1/realtime/client_secrets.

A secret stands for the key that asked for it, which is checked again whenever the secret is used: revoking the key
revokes its secrets. Secrets live in the memory of one process; behind a load balancer, its sessions must stick to it.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass

from asr.serve.errors import Refused
from asr.serve.realtime_settings import Settings

PREFIX = "ek_"
MOST, MOST_PER_KEY = 10_000, 1_000  # at a time


@dataclass(frozen=True)
class Granted:
    key: str | None  # None where no keys are required
    settings: Settings
    expires_at: int  # seconds since the epoch


class ClientSecrets:
    def __init__(self) -> None:
        self._granted: dict[bytes, Granted] = {}  # by the secret's hash

    def grant(self, key: str | None, settings: Settings, seconds: int) -> tuple[str, Granted]:
        """A new secret. Raises Refused(429) if too many are in use, by all or by this key."""
        now = time.time()
        self._granted = {hash: granted for hash, granted in self._granted.items() if granted.expires_at > now}
        if len(self._granted) >= MOST:
            raise Refused(429, f"{MOST} client secrets are in use; repeat the request later", retry_after_s=10.0)
        if key is not None and sum(granted.key == key for granted in self._granted.values()) >= MOST_PER_KEY:
            raise Refused(429, f"{MOST_PER_KEY} client secrets of this key are in use; repeat the request later", 10.0)
        value = PREFIX + secrets.token_urlsafe(32)
        granted = self._granted[_hash(value)] = Granted(key, settings, int(now) + seconds)
        return value, granted

    def find(self, value: str) -> Granted:
        """Raises Refused(401) for an unknown secret, or one that has expired."""
        granted = self._granted.get(_hash(value))
        if granted is None or granted.expires_at <= time.time():
            raise Refused(401, "the client secret is unknown or has expired; ask for a new one", code="invalid_api_key")
        return granted


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
