"""Which requests of a log are meant: by day, key, mode, and whether they belong to the random slice."""

from datetime import datetime, timezone

from sqlalchemy import ColumnElement, Select, and_, select, true

from asr.config import Config
from asr.errors import InputError
from asr.flywheel.log import DAY_S
from asr.flywheel.request import REQUESTS, WORD


def days(cfg: Config) -> ColumnElement[bool]:
    """The requests from `flywheel.since` to `flywheel.until`. Raises InputError if one is no day."""
    since, until = _day("since", cfg.flywheel.since), _day("until", cfg.flywheel.until)
    if since is not None and until is not None and since > until:
        raise InputError(f"flywheel.since={cfg.flywheel.since} is after flywheel.until={cfg.flywheel.until}")
    found: list[ColumnElement[bool]] = [true()]
    if since is not None:
        found.append(REQUESTS.c.time_s >= since)
    if until is not None:
        found.append(REQUESTS.c.time_s < until + DAY_S)
    return and_(*found)


def part(cfg: Config) -> ColumnElement[bool]:
    """Those of the random slice, of the rest, or all."""
    parts = {"all": true(), "slice": REQUESTS.c.in_slice, "rest": ~REQUESTS.c.in_slice}
    return parts[cfg.flywheel.part]


def mode(cfg: Config) -> ColumnElement[bool]:
    return REQUESTS.c.mode == cfg.flywheel.mode if cfg.flywheel.mode is not None else true()


def of_speech(cfg: Config) -> ColumnElement[bool]:
    """Those of the mode that is asked for; by default of every mode but `word`."""
    return mode(cfg) if cfg.flywheel.mode is not None else REQUESTS.c.mode != WORD


def key(cfg: Config) -> ColumnElement[bool]:
    return REQUESTS.c.key_name == cfg.flywheel.key if cfg.flywheel.key is not None else true()


def ids(which: ColumnElement[bool]) -> Select:
    return select(REQUESTS.c.id).where(which)


def _day(name: str, value: str | None) -> float | None:
    """The first second of a day."""
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise InputError(f"flywheel.{name}={value[:40]}: expected a day, as 2026-03-01") from None
