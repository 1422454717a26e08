"""API keys: who may call, how often per minute, and how many times per day.

    keys = Keys(Store("exp/serve.db"), daily_quota=20_000, rate_per_minute=600)
    secret = keys.add("phone app")            # the only time that it can be seen
    caller = keys.authorise(secret)           # Refused(401)
    keys.charge(caller)                       # Refused(429) with Retry-After

The database holds SHA-256 of each key. A slow hash such as argon2 protects passwords, which can be guessed; a key is
256 random bits, which cannot be guessed at any speed, and is hashed with each request.

Days are those of UTC. The calls of each day are counted in a row of their own and the row is never reset, so that a
clock that is set back finds the calls that were counted already.
"""

import hashlib
import math
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Select, func, insert, select, update

from asr.errors import InputError
from asr.serve.access import Caller
from asr.serve.errors import Refused
from asr.serve.store import KEYS, USAGE, Store

PREFIX = "asr_"  # lets scanners of secrets, and asr.serve.logs, find keys in texts
_FORM = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
LONGEST_NAME = 64
MINUTE_S, DAY_S = 60.0, 86400
CHARGE_S = 2.0  # how long a call waits to be counted while the database is locked


@dataclass(frozen=True)
class KeyInfo:
    id: int
    name: str
    created_s: float
    revoked_s: float | None
    calls_today: int
    calls: int


class Keys:
    """The keys in a store. Used by any number of threads and processes at a time; all may pass `now` for the time."""

    def __init__(self, store: Store, daily_quota: int = 20_000, rate_per_minute: int = 600):
        self._store, self.daily_quota, self.rate_per_minute = store, daily_quota, rate_per_minute

    def add(self, name: str, now: float | None = None) -> str:
        """Makes a key and returns it. Raises InputError if the name is not usable, or that of a key in use."""
        if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise InputError(f"{name[:80]!r} names no key: expected 1 to {LONGEST_NAME} printable characters")
        key = PREFIX + secrets.token_urlsafe(32)
        with self._store.write(durable=True) as connection:
            if connection.execute(_in_use(name)).first():
                raise InputError(f"there is a key '{name}' in use; revoke it first, or choose another name")
            values = {"name": name, "hash": _hash(key), "created_s": _time(now), "busy_until_s": 0.0}
            connection.execute(insert(KEYS).values(values))
        return key

    def revoke(self, name: str, now: float | None = None) -> None:
        """The next request with this key is refused, in every process. Raises InputError if no such key is in use."""
        with self._store.write(durable=True) as connection:
            active = (KEYS.c.name == name) & KEYS.c.revoked_s.is_(None)
            if not connection.execute(update(KEYS).where(active).values(revoked_s=_time(now))).rowcount:
                raise InputError(f"no key in use is named '{name}'; `asr serve keys list` shows the names")

    def list(self, now: float | None = None) -> list[KeyInfo]:
        today = func.sum(USAGE.c.calls).filter(USAGE.c.day == _day(_time(now)))
        columns = (KEYS.c.id, KEYS.c.name, KEYS.c.created_s, KEYS.c.revoked_s)
        query = (
            select(*columns, func.coalesce(today, 0), func.coalesce(func.sum(USAGE.c.calls), 0))
            .outerjoin(USAGE)
            .group_by(*columns)
            .order_by(KEYS.c.id)
        )
        with self._store.read() as connection:
            return [KeyInfo(*row) for row in connection.execute(query)]

    def authorise(self, key: str | None, now: float | None = None) -> Caller:
        """The caller whose key this is. Raises Refused(401) if it is missing, unknown or revoked."""
        if not key:
            raise Refused(
                401, "this service needs an API key: send 'Authorization: Bearer KEY'", code="missing_api_key"
            )
        row = None
        if _FORM.fullmatch(key):
            query = select(KEYS.c.id, KEYS.c.name, KEYS.c.revoked_s).where(KEYS.c.hash == _hash(key))
            with self._store.read() as connection:
                row = connection.execute(query).first()
        if row is None:
            raise Refused(401, "this API key is unknown here; check it, or ask for another one", code="invalid_api_key")
        if row.revoked_s is not None:
            raise _revoked(row.name)
        return Caller(str(row.id), row.name)

    def charge(self, caller: Caller, calls: int = 1, now: float | None = None) -> None:
        """Counts calls of the day and of the minute, all or none.

        Raises Refused(429) if they are more than is left, and Refused(401) if the key was revoked meanwhile.
        """
        at, own = _time(now), KEYS.c.id == int(caller.id)
        refused = None
        with self._store.write(wait_s=min(CHARGE_S, self._store.busy_s)) as connection:
            # The row is locked until the end of the transaction, so that calls of one key are counted one by one.
            query = select(KEYS.c.name, KEYS.c.revoked_s, KEYS.c.busy_until_s).where(own).with_for_update()
            row = connection.execute(query).one()
            if row.revoked_s is not None:
                raise _revoked(row.name)
            # At most a minute's calls ahead. More means that the clock was set back: then the minute is used up.
            busy_until_s = min(max(row.busy_until_s, at), at + MINUTE_S)
            call_s = MINUTE_S / self.rate_per_minute
            used_s = busy_until_s + calls * call_s
            today = (USAGE.c.key_id == int(caller.id)) & (USAGE.c.day == _day(at))
            counted = connection.execute(select(USAGE.c.calls).where(today)).scalar()
            if (counted or 0) + calls > self.daily_quota:
                refused = self._over_quota(counted or 0, at)
            elif used_s > at + MINUTE_S + call_s / 2:  # half a call, as sums of times are rounded
                refused = self._too_fast(used_s - at - MINUTE_S)
            else:
                busy_until_s = used_s
                new = {"key_id": int(caller.id), "day": _day(at), "calls": (counted or 0) + calls}
                is_first = counted is None
                connection.execute(insert(USAGE).values(new) if is_first else update(USAGE).where(today).values(new))
            connection.execute(update(KEYS).where(own).values(busy_until_s=busy_until_s))
        if refused:
            raise refused

    def refund(self, caller: Caller, calls: int = 1, now: float | None = None) -> None:
        """Takes back calls that were charged at `now` and not answered. The minute's rate still counts them."""
        own, day = int(caller.id), _day(_time(now))
        charged = (USAGE.c.key_id == own) & (USAGE.c.day == day) & (USAGE.c.calls >= calls)
        with self._store.write(wait_s=min(CHARGE_S, self._store.busy_s)) as connection:
            connection.execute(select(KEYS.c.id).where(KEYS.c.id == own).with_for_update())  # as in `charge`
            connection.execute(update(USAGE).where(charged).values(calls=USAGE.c.calls - calls))

    def _over_quota(self, counted: int, at: float) -> Refused:
        message = f"{counted} of this key's {self.daily_quota} calls per day are used; the next day begins at 00:00 UTC"
        return Refused(429, message, DAY_S - at % DAY_S, code="quota_exceeded")

    def _too_fast(self, wait_s: float) -> Refused:
        message = f"this key may make {self.rate_per_minute} calls per minute; repeat in {math.ceil(wait_s)} s"
        return Refused(429, message, wait_s, code="rate_limit_exceeded")


def _in_use(name: str) -> Select:
    return select(KEYS.c.id).where(KEYS.c.name == name, KEYS.c.revoked_s.is_(None))


def _revoked(name: str) -> Refused:
    return Refused(401, f"the API key '{name}' was revoked; ask for another one", code="invalid_api_key")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _time(now: float | None) -> float:
    return time.time() if now is None else now


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d")
