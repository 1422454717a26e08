"""Corrections: what was answered is kept if the operator wishes, and callers may say what was really said.

    POST /v1/feedback {"id": "asr-1f...", "text": "what was said"}  -> 204

`serve.keep_text` keeps the texts of answers, `serve.keep_audio` their sound. If neither is set, nothing is kept and
there is nothing to correct. `asr serve feedback export` makes a manifest of the corrections.

Answers are kept by a thread of their own (`Keeper`), so that no caller waits for the database.
"""

import logging
import re
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from sqlalchemy import delete, insert, select, update
from starlette.concurrency import run_in_threadpool

from asr import manifest
from asr.errors import InputError, places
from asr.files import atomic_write
from asr.flywheel.sounds import flac, folder_of
from asr.manifest import Utterance
from asr.serve.access import Caller, identified
from asr.serve.errors import Refused
from asr.serve.fields import body_of, parsed, schema_of
from asr.serve.service import Answered
from asr.serve.store import ANSWERS, CORRECTIONS, Store, Unavailable

_log = logging.getLogger(__name__)
LONGEST_TEXT = 20_000
MOST_BYTES = 1 << 18  # of a request: the longest text, if all of it is escaped
DAY_S, HOUR_S = 86400.0, 3600.0
MOST_WAITING_BYTES = 256 << 20  # of answers that wait to be kept; a recording longer than all of them has room alone
ROW_BYTES = 1000  # of an answer without text and sound
KEEP_S, RETRY_S = 20.0, 2.0  # how long an answer waits for a database that fails, and between two attempts
WAIT_S = 5.0  # of a correction for its answer to be kept, and of the service's end for those that wait

router = APIRouter(tags=["feedback"])


class Correction(BaseModel):
    id: str = Field(description="the `id` of an answer", examples=["asr-0b6f8d5e"])
    text: str = Field(description='what was said; "" if nothing was', examples=["turn on the light"])


@router.post(
    "/v1/feedback",
    status_code=204,
    summary="Correct an answer",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(Correction)}}}
    },
)
async def correct(request: Request, caller: Annotated[Caller, Depends(identified)]) -> None:
    """Keeps the right text beside the answer. A later correction of the same answer replaces it."""
    correction = parsed(Correction, await body_of(request, MOST_BYTES))
    answers: Answers | Keeper | None = request.app.state.answers
    if answers is None:
        raise Refused(
            404,
            "this service keeps no answers, so there is nothing to correct; it needs serve.keep_text=true",
            param="id",
        )
    await run_in_threadpool(answers.correct, caller, correction.id, correction.text)


class Answers:
    """The answers in a store. Those without a correction are deleted after `keep_days`."""

    def __init__(self, store: Store, keep_text: bool, keep_audio: bool, keep_days: float):
        self._store, self.keeps_audio = store, keep_audio
        self._text, self._keep_s = keep_text, keep_days * DAY_S
        self._cleared_s = 0.0

    def keep(self, answered: Answered, now: float | None = None) -> None:
        """May be repeated after Unavailable: an answer is kept once."""
        at, samples = time.time() if now is None else now, answered.samples
        row = {
            "id": answered.id,
            "key_id": answered.caller.id,
            "mode": answered.mode,
            "time_s": at,
            "text": answered.hypothesis.text if self._text else None,
            "audio": flac(samples, answered.sample_rate_hz) if self.keeps_audio and samples is not None else None,
        }
        with self._store.write() as connection:
            if not connection.execute(select(ANSWERS.c.id).where(ANSWERS.c.id == answered.id)).first():
                connection.execute(insert(ANSWERS).values(row))
        if abs(at - self._cleared_s) > HOUR_S:
            self._cleared_s = at
            self.clear(at)

    def clear(self, now: float) -> None:
        corrected = select(CORRECTIONS.c.answer_id)
        is_old = (ANSWERS.c.time_s < now - self._keep_s) & ANSWERS.c.id.not_in(corrected)
        with self._store.write() as connection:
            connection.execute(delete(ANSWERS).where(is_old))

    def correct(self, caller: Caller, id: str, text: str, now: float | None = None) -> None:
        """Raises Refused(404) for an answer that is not kept, or was given to another key."""
        new = {"text": _checked(text), "time_s": time.time() if now is None else now}
        with self._store.write() as connection:
            row = None
            if id.isprintable():  # PostgreSQL takes no NUL
                query = select(ANSWERS.c.key_id).where(ANSWERS.c.id == id).with_for_update()
                row = connection.execute(query).first()
            if row is None or row.key_id != caller.id:
                raise Refused(404, "there is no answer with this id, or it is no longer kept", param="id")
            if not connection.execute(update(CORRECTIONS).where(CORRECTIONS.c.answer_id == id).values(new)).rowcount:
                connection.execute(insert(CORRECTIONS).values(answer_id=id, **new))


class Keeper:
    """Keeps answers in a thread of its own, in their order. No caller sees a database that fails."""

    def __init__(self, answers: Answers, most_bytes: int = MOST_WAITING_BYTES):
        self._answers, self._most_bytes = answers, most_bytes
        self._thread = ThreadPoolExecutor(1, "keep")
        self._lock = threading.Lock()  # of the two below
        self._waiting: dict[str, Future[None]] = {}  # by the answer's id
        self._bytes = 0
        self._ends = threading.Event()

    def keep(self, answered: Answered) -> None:
        """Returns at once. While the database falls far behind, answers are not kept, and the log names them.

        A live utterance that was too long for its sound to be kept is not kept at all.
        """
        if answered.samples is None:
            return
        size = ROW_BYTES + len(answered.hypothesis.text.encode())
        if self._answers.keeps_audio:
            size += answered.samples.nbytes
        else:
            answered = replace(answered, samples=None)
        with self._lock:
            if self._waiting and self._bytes + size > self._most_bytes:
                _log.warning("the answer %s is not kept: %d others wait", answered.id, len(self._waiting))
                return
            self._bytes += size
            self._waiting[answered.id] = self._thread.submit(
                self._keep, answered, size, time.time(), time.monotonic() + KEEP_S
            )

    def correct(self, caller: Caller, id: str, text: str) -> None:
        """As `Answers.correct`, once the answer is kept. Raises Refused(503) if that takes too long."""
        with self._lock:
            kept = self._waiting.get(id)
        if kept and wait([kept], WAIT_S).not_done:
            raise Refused(503, "the answer is not kept yet; repeat the request later", WAIT_S)
        self._answers.correct(caller, id, text)

    def close(self) -> None:
        """Keeps what waits, as far as that is soon done."""
        with self._lock:
            waiting = list(self._waiting.values())
        wait(waiting, WAIT_S)
        self._ends.set()
        self._thread.shutdown(cancel_futures=True)
        if lost := sum(each.cancelled() for each in waiting):
            _log.warning("%d answers are not kept: the service ended before", lost)

    def _keep(self, answered: Answered, size: int, now: float, until_s: float) -> None:
        try:
            while not self._is_kept(answered, now):
                if time.monotonic() > until_s or self._ends.wait(RETRY_S):
                    _log.warning("the answer %s is not kept", answered.id)
                    return
        except Exception as e:
            _log.error("the answer %s is not kept:\n%s", answered.id, places(e))
        finally:
            with self._lock:
                del self._waiting[answered.id]
                self._bytes -= size

    def _is_kept(self, answered: Answered, now: float) -> bool:
        try:
            self._answers.keep(answered, now)
            return True
        except Unavailable:
            return False


def export(store: Store, path: Path) -> tuple[int, int]:
    """Writes the corrections with sound as a manifest, their sound as FLAC in the folder of its name without suffix.

    Returns the numbers of corrections written, and of those without sound. Raises InputError if none has sound.
    """
    with store.read() as connection:
        joined = select(ANSWERS.c.id, ANSWERS.c.audio.is_not(None).label("is_heard")).join(CORRECTIONS)
        rows = connection.execute(joined.order_by(CORRECTIONS.c.time_s, ANSWERS.c.id)).all()
    heard = [row.id for row in rows if row.is_heard]
    if not heard:
        raise InputError(
            f"{store.place} holds {len(rows)} corrections, none of them with sound; serve.keep_audio=true keeps it"
        )
    folder = folder_of(path)
    manifest.write(path, [_utterance(store, id, folder) for id in heard])
    return len(heard), len(rows) - len(heard)


def _utterance(store: Store, id: str, folder: Path) -> Utterance:
    query = select(ANSWERS, CORRECTIONS.c.text.label("corrected")).join(CORRECTIONS).where(ANSWERS.c.id == id)
    with store.read() as connection:
        row = connection.execute(query).one()
    sound = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', id)}.flac"
    with atomic_write(sound, "wb") as file:
        file.write(row.audio)
    extra = {"answered": row.text, "mode": row.mode, "answered_at_s": round(row.time_s, 3)}
    return Utterance(id, str(sound), text=row.corrected, extra={k: v for k, v in extra.items() if v is not None})


def _checked(text: str) -> str:
    """The text with single spaces. Raises Refused(400) if it is too long or holds control characters."""
    if len(text) > LONGEST_TEXT:
        raise Refused(400, f"text has {len(text)} characters, more than {LONGEST_TEXT}", param="text")
    words = " ".join(text.split())
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or "\ud800" <= c <= "\udfff" for c in words):
        raise Refused(400, "text holds control characters; send plain text", param="text")
    return words
