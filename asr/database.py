"""A database by the path of an SQLite file or by URL, SQLite or PostgreSQL: one transaction per block.

    database = Database("exp/serve.db", TABLES, "serve.keys")    # or "postgresql://user@host/name"
    with database.write() as connection:                         # DatabaseFailed if the database fails
        connection.execute(insert(TABLE).values(...))

Several processes may use one database at a time. SQLite keeps a write-ahead log: what was committed outlasts a process
that is killed.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, MetaData, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from asr.errors import InputError, missing
from asr.files import make_folder

_log = logging.getLogger(__name__)
BUSY_S = 5.0  # how long a transaction waits for those of others
_OUR_LOCK = 0x617372  # of PostgreSQL's advisory locks


class Closable(Protocol):
    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Closable)


class DatabaseFailed(Exception):
    """The database cannot be used now. `reason` names it."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Database:
    """Its tables are created if they are missing.

    `option`: what named the place, for error messages. `erases`: SQLite overwrites what is deleted with zeros.
    Raises InputError if it cannot be opened or is not a database.
    """

    def __init__(self, place: str, tables: MetaData, option: str, busy_s: float = BUSY_S, erases: bool = False):
        url = _url(place, option)
        self.place = url.render_as_string() if "://" in place else place  # without the password
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.busy_s, self._writer, self._tables = busy_s, threading.Lock(), tables
        if self.is_sqlite:
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
        if self.is_sqlite:
            event.listen(self._engine, "connect", partial(_prepare, erases))
            event.listen(self._engine, "begin", _begin)
        try:
            with self.write(durable=True) as connection:
                if not self.is_sqlite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_OUR_LOCK})")
                tables.create_all(connection)
        except DatabaseFailed as e:
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

    def scrub(self, wait_s: float = 10.0) -> bool:
        """Clears what was deleted out of the write-ahead log of SQLite, or out of these tables in PostgreSQL (VACUUM).

        False if others used an SQLite database for longer than `wait_s`; what was deleted may then still be read from
        its files.
        """
        try:
            if self.is_sqlite:
                return self._empty_log(wait_s)
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.detach()  # the pool does not get it back: it has another limit now
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql(f"VACUUM {', '.join(self._tables.tables)}")
            return True
        except (SQLAlchemyError, sqlite3.Error) as e:
            raise self._named(_first_line(e)) from e

    def _empty_log(self, wait_s: float) -> bool:
        raw, until_s = self._engine.raw_connection(), time.monotonic() + wait_s
        try:
            cursor = raw.cursor()
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # type: ignore[attr-defined]
                if time.monotonic() > until_s:
                    return False
                time.sleep(0.05)
            return True
        finally:
            raw.close()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, writes: bool, durable: bool, wait_s: float) -> Iterator[Connection]:
        try:
            with self._turn(writes, wait_s), self._engine.connect() as connection:
                connection.execution_options(writes=writes, durable=durable, wait_s=wait_s)
                with connection.begin():
                    if not self.is_sqlite and wait_s != self.busy_s:
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait_s * 1000:.0f}")
                    yield connection
        except SQLAlchemyError as e:
            raise self._named(_first_line(e)) from e

    @contextmanager
    def _turn(self, writes: bool, wait_s: float) -> Iterator[None]:
        """One writer of SQLite at a time in this process. They wait in line here; for those of other processes SQLite
        asks again and again, after longer and longer pauses."""
        if not (writes and self.is_sqlite):
            yield
            return
        if not self._writer.acquire(timeout=wait_s):
            raise self._named("it is locked by another request")
        try:
            yield
        finally:
            self._writer.release()

    def failure(self, reason: str) -> DatabaseFailed:
        """What is raised when the database fails."""
        return DatabaseFailed(reason)

    def _named(self, why: str) -> DatabaseFailed:
        reason = f"the database {self.place} failed: {why}"
        _log.error("%s", reason)
        return self.failure(reason)


def _url(place: str, option: str) -> URL:
    try:
        url = make_url(place) if "://" in place else URL.create("sqlite", database=os.path.abspath(place))
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            return url
    except (ArgumentError, NoSuchModuleError, ValueError):
        pass
    raise InputError(f"{option}={place.partition('://')[0]}...: expected an SQLite file or a postgresql:// URL")


def _create_private(path: str) -> None:
    """An empty file that others cannot read, unless it exists. SQLite gives its further files the same permissions."""
    try:
        make_folder(Path(path).parent)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as e:
        e.filename = path
        raise


def _prepare(erases: bool, connection: Any, _record: Any) -> None:
    """Settings of a new SQLite connection."""
    connection.isolation_level = None  # transactions are begun by `_begin`
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA secure_delete={'ON' if erases else 'OFF'}")
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


@contextmanager
def closing(opened: Opened) -> Iterator[Opened]:
    """What stands on a database, closed at the end of the block. Raises InputError if the database fails in it."""
    try:
        yield opened
    except DatabaseFailed as e:
        raise InputError(e.reason) from e
    finally:
        opened.close()


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
