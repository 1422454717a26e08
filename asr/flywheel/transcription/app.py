"""The page and its calls. Each transcriber has a token of their own, which says who calls.

    GET /         the page: one file that loads nothing, without any data
    GET /work     the recordings of the caller, with what was typed so far
    GET /sound    one recording as WAV
    POST /form    a text in normal form, with remarks
    POST /save    appends to the journal; answered when the line is on the disk

The token stands behind the # of the address, which browsers send to nobody. The page sends it as a header, so that no
other page can call in a transcriber's name.
"""

import hashlib
import hmac
import io
import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import soundfile
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from asr.errors import InputError
from asr.features import audio
from asr.flywheel.transcription import page
from asr.flywheel.transcription.form import checked
from asr.flywheel.transcription.items import Item, assigned
from asr.flywheel.transcription.journal import OF_SETTLING, Entry, Journal, Save

_log = logging.getLogger(__name__)
MOST_BYTES = 1 << 18  # of a call: the longest text, if all of it is escaped
LONGEST_TEXT = 20_000
HIGHEST_HZ = 48_000  # that every browser plays
Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class Desk:
    """What is transcribed, by whom. `settles`: the recordings in which transcribers disagree are shown instead, with
    the versions of both."""

    items: Sequence[Item]
    journal: Journal
    names: Sequence[str]
    double: float = 0.0
    cleans: bool = True
    settles: bool = False

    def work(self, by: str) -> list[Item]:
        """The recordings of a transcriber: those assigned, unless others have done them, and all that they began."""
        return [item for item in self.items if self._is_of(item.id, by)]

    def _is_of(self, id: str, by: str) -> bool:
        if self.settles:
            return self.journal.differ(id)
        own = self.journal.entries.get(id, {}).get(by, Entry())
        if own.done or own.draft:
            return True
        wanted = assigned(id, self.names, self.double)
        return by in wanted and len(self.journal.done(id)) < len(wanted)


class Typed(BaseModel):
    id: str
    text: str = Field(max_length=LONGEST_TEXT)


class Saved(Typed):
    state: str = Field(pattern="^(draft|done|settling|settled)$")
    mark: str | None = Field(None, pattern="^(unusable|noise|not speech)$")
    spent_s: float = Field(0.0, ge=0, le=1e6)


class Refused(Exception):
    def __init__(self, status: int, message: str):
        self.status, self.message = status, message


def tokens(names: Sequence[str], place: Path) -> dict[str, str]:
    """Token -> name. They follow from the secret in the file `place`, which is made if it is missing: pages that are
    open stay valid when the command is started again. Raises InputError if the file holds no secret."""
    with suppress(FileExistsError):
        with open(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    secret = place.read_bytes().strip()
    if len(secret) < 32:
        raise InputError(f"{place} holds no secret; delete it, and a new one is made")
    return {hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:32]: name for name in names}


def make_app(desk: Desk, known: dict[str, str]) -> FastAPI:
    """`known`: token -> name."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    items = {item.id: item for item in desk.items}

    def caller(request: Request) -> str:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        found = [name for token, name in known.items() if hmac.compare_digest(token.encode(), given)]
        if not found:
            raise Refused(401, "open the address that the command has printed, with all that follows the #")
        return found[0]

    def item_of(id: str) -> Item:
        if id not in items:
            raise Refused(404, "the manifest has no such recording")
        return items[id]

    @app.exception_handler(Refused)
    async def refuse(_: Request, refused: Refused) -> JSONResponse:
        return _private({"error": refused.message}, refused.status)

    @app.get("/")
    async def index() -> Response:
        return Response(page.HTML, media_type="text/html; charset=utf-8", headers=page.HEADERS)

    @app.get("/work")
    async def work(request: Request) -> JSONResponse:
        by = caller(request)
        place = hashlib.sha256(f"{desk.journal.path.resolve()}\0{by}\0{desk.settles}".encode()).hexdigest()[:16]
        shown = [_shown(desk, item, by) for item in desk.work(by)]
        return _private({"name": by, "place": place, "settles": desk.settles, "items": shown})

    @app.get("/sound")
    async def sound(request: Request, id: str) -> Response:
        caller(request)
        try:
            content = await run_in_threadpool(wav, item_of(id))
        except InputError as e:
            raise Refused(422, str(e)) from e
        return Response(content, media_type="audio/wav", headers=page.PRIVATE)

    @app.post("/form")
    async def form(request: Request) -> JSONResponse:
        caller(request)
        typed = await _body(request, Typed)
        found = await run_in_threadpool(checked, typed.text, item_of(typed.id).lang, desk.cleans)
        return _private(asdict(found))

    @app.post("/save")
    async def save(request: Request) -> JSONResponse:
        by = caller(request)
        saved = await _body(request, Saved)
        item = item_of(saved.id)
        if (saved.state in OF_SETTLING) != desk.settles:
            raise Refused(409, f"the command was started with settle={str(desk.settles).lower()}; reload the page")
        line = Save(item.id, by, saved.state, saved.text, saved.mark, round(saved.spent_s, 1))
        if not line.is_draft:
            line = replace(line, text="" if line.mark else checked(line.text, item.lang, desk.cleans).text)
        try:
            await run_in_threadpool(desk.journal.add, line)
        except OSError as e:
            _log.error("%s: %s", desk.journal.path, e.strerror)
            raise Refused(507, f"{desk.journal.path} cannot be written: {e.strerror}") from e
        return _private({"text": line.text})

    return app


def _shown(desk: Desk, item: Item, by: str) -> dict[str, Any]:
    """A recording for the page. The versions of others are shown to settle them, and at no other time."""
    entry = desk.journal.entries.get(item.id, {}).get(by, Entry())
    done = desk.journal.settled.get(item.id) if desk.settles else entry.done
    draft = desk.journal.settling.get(item.id, {}).get(by) if desk.settles else entry.draft
    latest = draft or done
    versions = desk.journal.done(item.id) if desk.settles else {}
    return {
        "id": item.id,
        "duration_s": item.duration_s,
        "lang": item.lang,
        "answered": item.answered,
        "words": item.words,
        "state": "open" if latest is None else "draft" if latest.is_draft else "done",
        "text": latest.text if latest else None,
        "mark": latest.mark if latest else None,
        "spent_s": latest.spent_s if latest else 0.0,
        "versions": [{"by": name, "text": save.text, "mark": save.mark} for name, save in versions.items()],
    }


def wav(item: Item) -> bytes:
    """The recording as WAV of 16 bits, one channel, at its own rate up to 48 kHz."""
    rate_hz = min(HIGHEST_HZ, audio.info(item.audio).sample_rate_hz)
    samples = audio.load(item.audio, item.start_s, item.duration_s, rate_hz, channel=item.channel)  # (T,)
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


async def _body(request: Request, kind: type[Parsed]) -> Parsed:
    """The JSON of a call, read after its token is known to be right."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise Refused(413, "the text is too long")
    try:
        return kind.model_validate_json(bytes(data))
    except ValidationError as e:
        first = e.errors()[0]
        raise Refused(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _private(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, headers=page.PRIVATE)
