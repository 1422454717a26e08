"""WS /v1/stream: sound in, partial results, endpoints and finals out; a broken connection can be resumed.

A session outlives its connection for `RESUME_S`. Its sound is a sequence of bytes: `received_bytes` says how many have
arrived, and the client goes on with the next one. Finals are kept, so that none is lost with the connection.
"""

import asyncio
import dataclasses
import secrets
from collections import deque
from collections.abc import Iterator
from functools import partial
from statistics import fmean
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from asr.errors import InputError
from asr.hypothesis import Word
from asr.recognizer.stream import StreamPartial
from asr.search.endpoint import EndpointOptions, Rule
from asr.serve.access import Caller, identified
from asr.serve.account import Account
from asr.serve.asked import Asked
from asr.serve.encodings import open_decoder
from asr.serve.engine import Engine
from asr.serve.errors import Refused
from asr.serve.fields import validated
from asr.serve.listener import Ended, Listener
from asr.serve.messages import known, parse
from asr.serve.recognition import ignored
from asr.serve.service import Service
from asr.serve.sockets import Connection, Event, Gone, Message, Session
from asr.serve.trial import Arm

router = APIRouter(tags=["streams"])

IDLE_S = 10.0  # without a message
RESUME_S = 30.0
MOST_BYTES = 1 << 20  # of one message
MOST_FINALS = 1000  # kept for a client that resumes
TYPES = ("keep_alive", "finalize", "close")


def _check_fields(endpoint: Any) -> Any:
    """Raises ValueError for fields that the options of endpoints and their rules do not have."""
    parts: list[tuple[Any, type]] = [(endpoint, EndpointOptions)]
    if isinstance(endpoint, dict) and isinstance(endpoint.get("rules"), list):
        parts += [(rule, Rule) for rule in endpoint["rules"]]
    for given, kind in parts:
        names = [field.name for field in dataclasses.fields(kind)]
        if isinstance(given, dict) and (unknown := next((name for name in given if name not in names), None)):
            raise ValueError(f"the field '{unknown}' is unknown; expected {', '.join(names)}")
    return endpoint


class Start(Asked):
    """The first message of a client."""

    type: Literal["start"]
    encoding: str = "pcm_s16le"
    sample_rate_hz: int | None = Field(None, description="null: 16000, or 8000 for mulaw and alaw; Opus has its own")
    partials: bool = True
    endpoint: Annotated[EndpointOptions | None, BeforeValidator(_check_fields)] = Field(
        default_factory=EndpointOptions, description="when an utterance ends; null: only when the client says so"
    )


class Resume(BaseModel):
    """The first message after a broken connection."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["resume"]
    session: str
    utterance: int = Field(0, ge=0, description="finals from this one on are sent again")


class LiveTalk:
    """The protocol of one session. See asr.serve.sockets.Talk."""

    def __init__(self, listener: Listener, account: Account, ignored: tuple[str, ...]):
        self.listener, self.account, self.ignored = listener, account, ignored
        self.is_over = False
        self.utterance = 0  # its number

    def hear(self, message: Message, lags: bool) -> Iterator[list[Event]]:
        if isinstance(message, bytes):
            for heard in self.listener.hear(message, lags):
                yield self._events(heard)
            return
        kind = known(parse(message), TYPES)
        if kind == "finalize":
            yield self._final(self.listener.finalize(), from_finalize=True)
        elif kind == "close":
            yield from self.finish()

    def held_back_s(self) -> float | None:
        return self.listener.held_back_s()

    def wait(self) -> Iterator[list[Event]]:
        yield self._events(self.listener.partial())

    def close(self) -> None:
        self.listener.close()

    def finish(self) -> Iterator[list[Event]]:
        for heard in self.listener.end_sound():
            yield self._events(heard)
        ended = self.listener.finalize()
        self.is_over = True
        last = self._final(ended, from_finalize=False) if ended.hypothesis.words else []
        yield [*last, {"type": "closed", "audio_s": round(ended.end_s, 3)}]

    def _events(self, heard: StreamPartial | Ended | None) -> list[Event]:
        if isinstance(heard, Ended):
            if not heard.hypothesis.words:
                return []  # the rule of silence without speech
            assert heard.end
            at = {"at_s": heard.end.at_s, "rule": heard.end.rule}
            end = {"type": "endpoint", **at, "utterance": self.utterance}
            return [end, *self._final(heard, from_finalize=False)]
        if heard is None:
            return []
        words = [_word(word) for word in heard.words]
        body = {"text": heard.text, "words": words, "stable": heard.num_stable, "utterance": self.utterance}
        return [{"type": "partial", **body}]

    def _final(self, ended: Ended, from_finalize: bool) -> list[Event]:
        found, id = ended.hypothesis, self.account.add(ended, self.listener.decoder.rate_hz)
        confidences = [word.confidence for word in found.words]
        final: Event = {
            "type": "final",
            "utterance": self.utterance,
            "id": id,
            "text": found.text,
            "words": [_word(word) for word in found.words],
            "confidence": round(fmean(confidences), 4) if confidences else 0.0,
            "start_s": round(ended.start_s, 3),
            "end_s": round(ended.end_s, 3),
            "from_finalize": from_finalize,
        }
        if found.alternatives:
            final["alternatives"] = [
                {"text": other.text, "cost": round(other.cost - found.cost, 4)} for other in found.alternatives
            ]
        if found.confusion:
            final["confusion"] = [dataclasses.asdict(bin) for bin in found.confusion]
        self.utterance += 1
        return [final]


class LiveSession:
    """A talk, and the connection that it has at the moment."""

    def __init__(self, id: str, service: Service, caller: Caller, talk: LiveTalk, engine: Engine):
        self.id, self.caller, self.service = id, caller, service
        self.session = Session(engine, talk, self._tell)
        self.started = {"type": "started", "session": id, "ignored": talk.ignored}
        self.received_bytes = 0
        self.connection: Connection | None = None
        self._finals: deque[Event] = deque(maxlen=MOST_FINALS)
        self._parted: asyncio.Future[Exception] = asyncio.Future()  # why the connection is no longer the session's
        self._attaching = asyncio.Lock()
        self._expiry: asyncio.TimerHandle | None = None
        self.work = asyncio.create_task(self._work())

    def drain(self) -> None:
        self.session.drain()

    async def serve(self, connection: Connection, utterance: int = 0) -> None:
        """Until the session is over or has another connection. Raises Refused and Gone."""
        parted = await self._attach(connection, utterance)
        reading = asyncio.create_task(self._read(connection))
        try:
            ends: list[asyncio.Future[Any]] = [reading, parted, self.work]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if parted.done():
                raise parted.result()
            if reading.done():
                await reading
        finally:
            reading.cancel()
            if self.connection is connection:
                self._part(Gone())

    async def _attach(self, connection: Connection, utterance: int) -> asyncio.Future[Exception]:
        """Takes over from an earlier connection, and repeats the finals from this utterance on."""
        async with self._attaching:
            self._part(Refused(409, "another connection has resumed this session", code="resumed"))
            kept = self._finals[0]["utterance"] if self._finals else 0
            if utterance < kept:
                raise Refused(400, f"finals before utterance {kept} are no longer kept", param="utterance")
            await connection.send({**self.started, "received_bytes": self.received_bytes})
            while final := next((final for final in self._finals if final["utterance"] >= utterance), None):
                await connection.send(final)
                utterance = final["utterance"] + 1
            self.connection, self._parted = connection, asyncio.Future()
            if self._expiry:
                self._expiry.cancel()
            return self._parted

    async def _read(self, connection: Connection) -> None:
        """Until the client is gone. Raises Refused."""
        while (message := await connection.receive(self.session)) is not None:
            await self.session.has_room()
            if self.connection is not connection:
                return
            self.session.take(message)
            self.received_bytes += len(message) if isinstance(message, bytes) else 0
        if connection.has_said_goodbye:
            self.work.cancel()

    def _part(self, why: Exception) -> None:
        """The session waits for a client that resumes it."""
        self.connection = None
        if not self._parted.done():
            self._parted.set_result(why)
        if self._expiry:
            self._expiry.cancel()
        if not self.work.done():
            self._expiry = asyncio.get_running_loop().call_later(RESUME_S, self.work.cancel)

    async def _tell(self, event: Event) -> None:
        if event["type"] == "final":
            self._finals.append(event)
        if connection := self.connection:
            try:
                await connection.send(event)
            except Gone:
                if self.connection is connection:
                    self._part(Gone())

    async def _work(self) -> None:
        refused = None
        try:
            await self.session.run()
        except Refused as e:
            refused = e
        finally:
            self.service.sessions.remove(self.id)
            if self._expiry:
                self._expiry.cancel()
            await self.session.close()
        if self.connection:
            await (
                self.connection.refuse(refused)
                if refused
                else self.connection.close(1012 if self.session.is_draining else 1000)
            )


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    service: Service = websocket.app.state.service
    await websocket.accept()
    connection = Connection(websocket, IDLE_S, MOST_BYTES)
    try:
        caller = await identified(websocket)
        first = await connection.receive()
        if first is None:
            return
        if isinstance(first, bytes):
            raise Refused(400, 'sound came before the start message; begin with {"type": "start", ...}')
        message = parse(first)
        if known(message, ("start", "resume")) == "start":
            await (await begin(service, caller, validated(Start, message))).serve(connection)
        else:
            resume = validated(Resume, message)
            await found(service, caller, resume.session).serve(connection, resume.utterance)
    except Refused as e:
        await connection.refuse(e)
    except InputError as e:
        await connection.refuse(Refused(400, str(e)))
    except Gone:
        pass
    await connection.close()


async def begin(service: Service, caller: Caller, start: Start) -> LiveSession:
    """Raises Refused and InputError for what the service cannot do."""
    options, mode, cfg = start.options(service.cfg.serve), service.modes.mode_for(start), service.cfg.serve

    def opened(arm: Arm, account: Account) -> LiveTalk:
        recognizer, rest = arm.modes.prepared(caller, mode, options)
        account.model, account.options = arm.modes.models.get(mode, ""), options
        unused = account.ignored = ignored(recognizer, options, recognizer.compile_phrases(rest.phrases))
        decoder = open_decoder(start.encoding, start.sample_rate_hz)
        keeps, most_s = bool(service.keepers), cfg.max_stream_s
        listener = Listener(recognizer, rest, start.endpoint, decoder, most_s, keeps, start.partials)
        return LiveTalk(listener, account, unused)

    id = secrets.token_urlsafe(16)
    with service.sessions.place(id, caller):
        account = await service.engine.live(partial(Account, service, caller, mode))

        async def work(arm: Arm) -> tuple[LiveTalk, Engine]:
            return await arm.engine.live(partial(opened, arm, account)), arm.engine

        session = LiveSession(id, service, caller, *await service.by_turn(caller, work))
        service.sessions.open[id] = session
        return session


def found(service: Service, caller: Caller, id: str) -> LiveSession:
    """The session of this caller. Raises Refused(404), for those of others too."""
    session = service.sessions.open.get(id)
    if not isinstance(session, LiveSession) or session.caller != caller:
        raise Refused(404, "there is no such session; it ended, or waited for longer than 30 s", param="session")
    return session


def _word(word: Word) -> Event:
    times = {"start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)}
    return {"word": word.word, **times, "confidence": round(word.confidence, 4), "accepted": word.accepted}
