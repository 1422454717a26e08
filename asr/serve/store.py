"""The database of the service: keys, usage, answers and corrections, in SQLite or PostgreSQL.

    store = Store("exp/serve.db")                       # or "postgresql://user@host/name"
    with store.write() as connection:                   # one transaction; Unavailable if the database fails
        connection.execute(insert(ANSWERS).values(...))

Several processes may use one database at a time. No call is counted twice: after an error the caller of the service
gets 503 and repeats the request. Only answers, which are kept under their id, are tried again (asr.serve.feedback).
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from asr.errors import InputError, missing
from asr.serve.errors import Refused

_log = logging.getLogger(__name__)
BUSY_S = 5.0  # how long a transaction waits for those of others
RETRY_S = 5.0  # what callers are told
_OUR_LOCK = 0x617372  # of PostgreSQL's advisory locks

_tables = MetaData()
KEYS = Table(
    "asr_keys",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),  # SHA-256, hexadecimal
    Column("created_s", Float(53), nullable=False),  # seconds since 1970, as all times here
    Column("revoked_s", Float(53)),
    Column("busy_until_s", Float(53), nullable=False),  # when the calls so far would have ended, at the allowed rate
    sqlite_autoincrement=True,  # never the id of another key, even if that was deleted
)
Index("asr_keys_name", KEYS.c.name, unique=True, sqlite_where=KEYS.c.revoked_s.is_(None),
      postgresql_where=KEYS.c.revoked_s.is_(None))  # fmt: skip
USAGE = Table(
    "asr_usage",
    _tables,
    Column("key_id", ForeignKey(KEYS.c.id), primary_key=True),
    Column("day", Text, primary_key=True),  # of UTC, as 2026-03-01
    Column("calls", Integer, nullable=False),
)
ANSWERS = Table(
    "asr_answers",
    _tables,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),  # Caller.id; "" where no keys are required
    Column("mode", Text, nullable=False),
    Column("time_s", Float(53), nullable=False, index=True),
    Column("text", Text),  # None: not kept
    Column("audio", LargeBinary),  # FLAC; None: not kept
)
CORRECTIONS = Table(
    "asr_corrections",
    _tables,
    Column("answer_id", ForeignKey(ANSWERS.c.id), primary_key=True),
    Column("text", Text, nullable=False),
    Column("time_s", Float(53), nullable=False),
)


class Unavailable(Refused):
    """The database cannot be used now. `reason` names it, for the log and the command line; callers are not told."""

    def __init__(self, reason: str):
        super().__init__(503, "the service cannot reach its records at the moment; repeat the request later", RETRY_S)
        self.reason = reason


class Store:
    """A database by the path of an SQLite file, or by URL. Its tables are created if they are missing.

    Raises InputError if it cannot be opened or is not a database.
    """

    def __init__(self, place: str, busy_s: float = BUSY_S):
        url = _url(place)
        self.place = url.render_as_string() if "://" in place else place  # without the password
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self.busy_s, self._writer = busy_s, threading.Lock()
        if self._is_sqlite:
            _create_private(url.database or "")
            settings: dict[str, Any] = {"connect_args": {"timeout": busy_s}}
        else:
            limit = f"-c lock_timeout={busy_s * 1000:.0f} -c statement_timeout={2 * busy_s * 1000:.0f}"
            settings = {"connect_args": {"connect_timeout": 5, "options": limit}, "pool_pre_ping": True}
        try:
            # Threads share the connections. 40 is what the service's own pool of threads may ask for at a time.
            self._engine = create_engine(url, pool_size=8, max_overflow=32, pool_timeout=busy_s, **settings)
        except ImportError:
            raise InputError(missing("postgres", self.place, "psycopg")) from None
        if self._is_sqlite:
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)
        try:
            with self.write(durable=True) as connection:
                if not self._is_sqlite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_OUR_LOCK})")
                _tables.create_all(connection)
        except Unavailable as e:
            raise InputError(e.reason) from e

    @contextmanager
    def write(self, durable: bool = False, wait_s: float | None = None) -> Iterator[Connection]:
        """A transaction that excludes other writers of SQLite. It ends with the block, or is undone by an exception.

        `durable`: it survives a power failure in SQLite, too; others are lost for the last moments before one.
        `wait_s`: how long it waits for those of others; None: `busy_s`.
        """
        with self._transaction(writes=True, durable=durable, wait_s=wait_s or self.busy_s) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and waits for no writer."""
        with self._transaction(writes=False, durable=False, wait_s=self.busy_s) as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, writes: bool, durable: bool, wait_s: float) -> Iterator[Connection]:
        try:
            with self._turn(writes, wait_s), self._engine.connect() as connection:
                connection.execution_options(writes=writes, durable=durable, wait_s=wait_s)
                with connection.begin():
                    if not self._is_sqlite and wait_s != self.busy_s:
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait_s * 1000:.0f}")
                    yield connection
        except SQLAlchemyError as e:
            raise self._unavailable(_first_line(e)) from e

    @contextmanager
    def _turn(self, writes: bool, wait_s: float) -> Iterator[None]:
        """One writer of SQLite at a time in this process. They wait in line here; for those of other processes SQLite
        asks again and again, after longer and longer pauses."""
        if not (writes and self._is_sqlite):
            yield
            return
        if not self._writer.acquire(timeout=wait_s):
            raise self._unavailable("it is locked by another request")
        try:
            yield
        finally:
            self._writer.release()

    def _unavailable(self, why: str) -> Unavailable:
        reason = f"the database {self.place} failed: {why}"
        _log.error("%s", reason)
        return Unavailable(reason)


def _url(place: str) -> URL:
    try:
        url = make_url(place) if "://" in place else URL.create("sqlite", database=os.path.abspath(place))
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            return url
    except (ArgumentError, NoSuchModuleError, ValueError):
        pass
    raise InputError(f"serve.keys={place.partition('://')[0]}...: expected an SQLite file or a postgresql:// URL")


def _create_private(path: str) -> None:
    """An empty file that others cannot read, unless it exists. SQLite gives its further files the same permissions."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as e:
        e.filename = path
        raise


def _prepare(connection: Any, _record: Any) -> None:
    """Settings of a new SQLite connection."""
    connection.isolation_level = None  # transactions are begun by `_begin`
    connection.execute("PRAGMA foreign_keys=ON")
    deadline_s = time.monotonic() + BUSY_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except Exception:  # another process is changing the mode, for which SQLite does not wait
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('durable') else 'NORMAL'}")
    if "wait_s" in options:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={options['wait_s'] * 1000:.0f}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
