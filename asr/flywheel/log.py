"""The log of requests: their rows in SQLite or PostgreSQL, their sounds as files.

    log = RequestLog("exp/log", slice_rate=0.01)
    log.add(heard)                       # the sound first, then its row
    log.delete(REQUESTS.c.key_name == "phone app")

A row is written after its sound and deleted after it, so that a process may be killed at any moment: a sound without a
row is swept later, and deleting again ends what was begun. What is deleted is overwritten in SQLite. Database and
folder hold the same mark: to another database, all sounds of the folder would be without a row.
"""

import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, delete, func, insert, select, text, true, update

from asr.database import Database, DatabaseFailed
from asr.errors import InputError
from asr.files import atomic_write, make_folder
from asr.flywheel.request import (
    MARKS,
    REQUESTS,
    SCHEMA,
    SCHEMAS,
    SHADOWS,
    TABLES,
    TEXTS,
    TRANSCRIBED,
    TRANSCRIPTS,
    UNUSABLE,
    Heard,
    Shadowed,
    rows_of,
)
from asr.flywheel.sounds import YOUNG_S, Sounds

_log = logging.getLogger(__name__)
DATABASE, SOUNDS, MARK = "requests.db", "sound", "mark"  # in the folder of the log
DAY_S = 86400.0
BLOCK = 500  # rows per transaction; others have their turn in between


class RequestLog:
    """`database`: a postgresql:// URL or an SQLite file; None: requests.db in the folder.
    `slice_rate`: the share of the random slice.

    Raises InputError if the database cannot be opened, or is not that of the folder. Its methods raise DatabaseFailed
    and OSError.
    """

    def __init__(self, folder: str | Path, database: str | None = None, slice_rate: float = 0.0):
        self.folder, self.slice_rate = Path(folder), slice_rate
        make_folder(self.folder, 0o700)
        self.sounds = Sounds(self.folder / SOUNDS)
        place = database or os.fspath(self.folder / DATABASE)
        self.database = Database(place, TABLES, "serve.log_database", erases=True)
        self._claim()

    @classmethod
    def existing(cls, folder: str | Path | None, database: str | None = None) -> "RequestLog":
        """A log that a service has written. Raises InputError if there is none."""
        if folder is None:
            raise InputError("no log is named; name the folder that `asr serve` logs to: log=exp/log")
        if not (Path(folder) / SOUNDS).exists():
            raise InputError(f"{folder} holds no log of requests; `asr serve MODEL.asr log={folder}` writes one")
        if database is None and not (Path(folder) / DATABASE).exists():
            raise InputError(f"{folder} has sounds, but no {DATABASE}; name its database by log_database=")
        if database and "://" not in database and not Path(database).exists():
            raise InputError(f"serve.log_database={database}: there is no database; check the path")
        return cls(folder, database)

    def _claim(self) -> None:
        """Marks the folder and the database as each other's, unless they are. Raises InputError for those of others."""
        path = self.folder / MARK
        try:
            with self.database.write(durable=True) as connection:
                new = text(f"INSERT INTO {MARKS.name} (number, mark) VALUES (1, :mark) ON CONFLICT DO NOTHING")
                connection.execute(new, {"mark": uuid.uuid4().hex})
                mark = connection.scalar(select(MARKS.c.mark))
                new = text(f"INSERT INTO {SCHEMAS.name} (number, version) VALUES (1, :version) ON CONFLICT DO NOTHING")
                connection.execute(new, {"version": SCHEMA})
                version = connection.scalar(select(SCHEMAS.c.version)) or 0
        except DatabaseFailed as e:
            raise InputError(e.reason) from e
        if version > SCHEMA:
            raise InputError(f"{self.database.place} was written by a later version of the toolkit (tables of version "
                             f"{version}, not {SCHEMA}); upgrade the toolkit, or log to another folder")  # fmt: skip
        if not path.exists():
            with atomic_write(path) as file:
                file.write(f"{mark}\n")
        if path.read_text().strip() != mark:
            raise InputError(f"{self.folder} holds the sounds of another database than {self.database.place}; name "
                             "theirs by serve.log_database, or log to another folder")  # fmt: skip

    def add(self, heard: Heard) -> None:
        """May be repeated after an error: a request is logged once."""
        row, texts = rows_of(heard, self.slice_rate)
        if heard.samples is not None and len(heard.samples):
            row["sound"], row["sound_bytes"] = self.sounds.add(
                row["day"], heard.id, heard.samples, heard.sample_rate_hz
            )
        try:
            with self.database.write() as connection:
                if not connection.execute(select(REQUESTS.c.id).where(REQUESTS.c.id == heard.id)).first():
                    connection.execute(insert(REQUESTS).values(row))
                    connection.execute(insert(TEXTS).values(texts))
        except Exception:
            if row["sound"]:
                with suppress(OSError):  # without a row, it would outlast `serve.log_days`
                    self.sounds.delete(row["sound"])
            raise

    def add_shadow(self, shadowed: Shadowed) -> None:
        """Logs what a candidate heard, beside the request; without a row of that, nothing."""
        found = shadowed.hypothesis
        row = {"id": shadowed.id, "model": shadowed.model, "text": found.text, "confidence": found.confidence,
               "latency_s": shadowed.latency_s}  # fmt: skip
        with self.database.write() as connection:
            if connection.execute(select(REQUESTS.c.id).where(REQUESTS.c.id == shadowed.id)).first():
                connection.execute(delete(SHADOWS).where(SHADOWS.c.id == shadowed.id))
                connection.execute(insert(SHADOWS).values(row))

    def transcribe(self, texts: dict[str, str], now_s: float) -> list[str]:
        """Keeps transcripts by id, in place of earlier ones -> the ids that the log does not have."""
        return self._tell(TRANSCRIPTS, {id: {"text": text} for id, text in texts.items()}, now_s)

    def mark_unusable(self, ids: Sequence[str], now_s: float) -> list[str]:
        """Notes that requests cannot be transcribed, in place of transcripts -> the ids that the log does not have."""
        return self._tell(UNUSABLE, {id: {} for id in ids}, now_s)

    def _tell(self, table: Table, told: Mapping[str, Mapping[str, str]], now_s: float) -> list[str]:
        """Writes what people say about requests to `table`, in place of what they said before."""
        unknown: list[str] = []
        for block in blocks(list(told)):
            with self.database.write() as connection:
                found = set(connection.scalars(select(REQUESTS.c.id).where(REQUESTS.c.id.in_(block))))
                for earlier in (TRANSCRIPTS, UNUSABLE):
                    connection.execute(delete(earlier).where(earlier.c.id.in_(found)))
                if found:
                    rows = [{"id": id, **told[id], "time_s": now_s} for id in block if id in found]
                    connection.execute(insert(table), rows)
            unknown += [id for id in block if id not in found]
        return unknown

    def rows(self, query: Select) -> list[Row[Any]]:
        with self.database.read() as connection:
            return list(connection.execute(query))

    def delete(self, which: ColumnElement[bool]) -> int:
        """Deletes requests with their sounds, texts and transcripts -> their number."""
        deleted = 0
        while rows := self.rows(select(REQUESTS.c.id, REQUESTS.c.sound).where(which).limit(BLOCK)):
            for row in rows:
                if row.sound:
                    self.sounds.delete(row.sound)
            with self.database.write() as connection:
                ids = [row.id for row in rows]
                for table in (SHADOWS, TRANSCRIPTS, UNUSABLE, TEXTS, REQUESTS):
                    connection.execute(delete(table).where(table.c.id.in_(ids)))
            deleted += len(rows)
        return deleted

    def forget_sounds(self, most_bytes: float) -> int:
        """Deletes sounds, the oldest first, until the others have at most `most_bytes` -> their number.

        Those of the random slice and those with a transcript are deleted after all others. The rows stay.
        """
        (total,) = self.rows(select(func.coalesce(func.sum(REQUESTS.c.sound_bytes), 0)))[0]
        excess, forgotten = total - most_bytes, 0
        for which in (~REQUESTS.c.in_slice & ~TRANSCRIBED, true()):
            query = select(REQUESTS.c.id, REQUESTS.c.sound, REQUESTS.c.sound_bytes)
            query = query.where(which & REQUESTS.c.sound.is_not(None)).order_by(REQUESTS.c.time_s).limit(BLOCK)
            while excess > 0 and (rows := self.rows(query)):
                ids = []
                for row in rows:
                    if excess <= 0:
                        break
                    self.sounds.delete(row.sound)
                    excess -= row.sound_bytes
                    ids.append(row.id)
                with self.database.write() as connection:
                    gone = update(REQUESTS).where(REQUESTS.c.id.in_(ids))
                    connection.execute(gone.values(sound=None, sound_bytes=0))
                forgotten += len(ids)
        return forgotten

    def retain(self, now_s: float, days: float, most_bytes: float) -> None:
        """Deletes what is older than `days`, and sounds beyond `most_bytes`."""
        if old := self.delete(REQUESTS.c.time_s < now_s - days * DAY_S):
            _log.info("%d logged requests were older than %g days and are deleted", old, days)
            self.database.scrub()
        if forgotten := self.forget_sounds(most_bytes):
            _log.info("the sounds of %d logged requests are deleted: all together were too large", forgotten)

    def sweep(self, young_s: float = YOUNG_S) -> int:
        """Deletes sounds without a row -> their number."""

        def known(day: str) -> set[str]:
            query = select(REQUESTS.c.id).where((REQUESTS.c.day == day) & REQUESTS.c.sound.is_not(None))
            return {row.id for row in self.rows(query)}

        return self.sounds.sweep(known, young_s)

    def close(self) -> None:
        self.database.close()


def blocks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids in blocks of at most `BLOCK`."""
    for first in range(0, len(ids), BLOCK):
        yield ids[first : first + BLOCK]
