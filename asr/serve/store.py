"""The database of the service: keys, usage, answers and corrections, in SQLite or PostgreSQL.

    store = Store("exp/serve.db")                       # or "postgresql://user@host/name"
    with store.write() as connection:                   # one transaction; Unavailable if the database fails
        connection.execute(insert(ANSWERS).values(...))

No call is counted twice: after an error the caller of the service gets 503 and repeats the request. Only answers, which
are kept under their id, are tried again (asr.serve.feedback).
"""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

from asr.database import BUSY_S, Database, DatabaseFailed
from asr.serve.errors import Refused

RETRY_S = 5.0  # what callers are told

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


class Unavailable(Refused, DatabaseFailed):
    """The database cannot be used now. `reason` names it, for the log and the command line; callers are not told."""

    def __init__(self, reason: str):
        super().__init__(503, "the service cannot reach its records at the moment; repeat the request later", RETRY_S)
        self.reason = reason


class Store(Database):
    """The database of the service. Its blocks raise Unavailable if it fails."""

    def __init__(self, place: str, busy_s: float = BUSY_S):
        super().__init__(place, _tables, "serve.keys", busy_s)

    def failure(self, reason: str) -> Unavailable:
        return Unavailable(reason)
