"""WS /v1/realtime?intent=transcription, and POST /v1/realtime/client_secrets: OpenAI's realtime transcription."""

import asyncio
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, WebSocket
from pydantic import Field

from asr.errors import InputError
from asr.search.endpoint import EndpointOptions, after_silence, semantic
from asr.serve.access import Caller, authorised, identified, key_of
from asr.serve.account import Account
from asr.serve.asked import limit
from asr.serve.client_secrets import PREFIX
from asr.serve.conversation import Conversation, error_event, new_id
from asr.serve.engine import Engine
from asr.serve.errors import Refused, answer
from asr.serve.fields import body_of, parsed, schema_of
from asr.serve.listener import Listener
from asr.serve.openai import check_language, keyword_options, mode_of
from asr.serve.realtime_settings import Part, SemanticVad, ServerVad, Settings, Transcription, decoder_of
from asr.serve.service import Service
from asr.serve.sockets import Connection, Gone, Session
from asr.serve.trial import Arm

router = APIRouter(tags=["streams"])

IDLE_S = 900.0  # without a message
MOST_BYTES = 21 << 20  # of one message: an append of 15 MiB in base64
MOST_SECRET_BYTES = 1 << 20  # of a request for a client secret, which may bring keywords
SUBPROTOCOL = "realtime"
# How long the rules of the language model wait, and the longest pause within a turn in seconds.
EAGERNESS = {"low": (2.0, 8.0), "medium": (1.0, 4.0), "auto": (1.0, 4.0), "high": (0.7, 2.0)}
KEY_PROTOCOL = "openai-insecure-api-key."  # a subprotocol that carries the key, for browsers


class ExpiresAfter(Part):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class SecretRequest(Part):
    expires_after: ExpiresAfter = ExpiresAfter()
    session: Settings = Settings()


@router.post(
    "/v1/realtime/client_secrets",
    summary="A key for a browser, valid for minutes",
    dependencies=[Depends(identified)],
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(SecretRequest)}}}
    },
)
async def client_secrets(request: Request) -> dict[str, Any]:
    service: Service = request.app.state.service
    key = key_of(request)
    asked = parsed(SecretRequest, await body_of(request, MOST_SECRET_BYTES))
    value, granted = service.client_secrets.grant(key, asked.session, asked.expires_after.seconds)
    return {"value": value, "expires_at": granted.expires_at, "session": asked.session.told(new_id("sess"))}


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    service: Service = websocket.app.state.service
    id = new_id("sess")
    try:
        caller, settings = await _admitted(service, websocket)
        with service.sessions.place(id, caller):
            try:
                conversation, engine = await _opened(service, caller, settings)
            except InputError as e:
                raise Refused(400, str(e)) from None
    except Refused as e:
        await websocket.send_denial_response(answer(e))
        return
    connection = Connection(websocket, IDLE_S, MOST_BYTES)
    session = Session(engine, conversation, connection.send)
    service.sessions.open[id] = session
    try:
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)
        await connection.send(conversation.created(id))
        await _serve(connection, session)
        await connection.close(1012 if session.is_draining else 1000)
    except Refused as e:
        await connection.refuse(e, error_event(e))
    except Gone:
        await connection.close()
    finally:
        service.sessions.remove(id)
        await session.close()


async def _serve(connection: Connection, session: Session) -> None:
    """Until the client is gone or the session is over. Raises Refused and Gone."""
    reading, working = asyncio.create_task(_read(connection, session)), asyncio.create_task(session.run())
    try:
        await asyncio.wait([reading, working], return_when=asyncio.FIRST_COMPLETED)
        for task in (working, reading):
            if task.done():
                await task
    finally:
        reading.cancel()
        working.cancel()
        await asyncio.wait([reading, working])


async def _read(connection: Connection, session: Session) -> None:
    while (message := await connection.receive(session)) is not None:
        await session.has_room()
        session.take(message)


async def _opened(service: Service, caller: Caller, settings: Settings) -> tuple[Conversation, Engine]:
    account = await service.engine.live(lambda: Account(service, caller, service.modes.free()))

    async def work(arm: Arm) -> tuple[Conversation, Engine]:
        return await arm.engine.live(lambda: _conversation(service, arm, account, settings)), arm.engine

    return await service.by_turn(caller, work)


def _conversation(service: Service, arm: Arm, account: Account, settings: Settings) -> Conversation:
    """Runs in a worker thread. Raises InputError and Refused for what the recogniser does not take."""

    def listen(settings: Settings) -> tuple[Listener, Settings]:
        heard = settings.audio.input
        asked = heard.transcription or Transcription()
        check_language(asked.language, asked.languages or [], service.cfg.serve.language)
        keywords, mode = asked.keywords or [], mode_of(asked.model, arm.modes)
        limit("keywords", keywords, service.cfg.serve.max_phrases)
        options, unused = keyword_options(arm.modes.of(mode), keywords, service.cfg.boost)
        recognizer, rest = arm.modes.prepared(account.caller, mode, options)
        endpoint, keeps, most_s = (
            _endpoint(heard.turn_detection),
            bool(service.keepers),
            service.cfg.serve.max_stream_s,
        )
        listener = Listener(recognizer, rest, endpoint, decoder_of(heard.format), most_s, keeps)
        account.mode, account.ignored = mode, tuple(unused)
        account.model, account.options = arm.modes.models.get(mode, ""), options
        return listener, settings.without_keywords(unused)

    return Conversation(settings, listen, account)


async def _admitted(service: Service, websocket: WebSocket) -> tuple[Caller, Settings]:
    """The caller and the settings to begin with. Raises Refused(401)."""
    offered = [p.removeprefix(KEY_PROTOCOL) for p in websocket.scope["subprotocols"] if p.startswith(KEY_PROTOCOL)]
    key = offered[0] if offered else key_of(websocket)
    settings = Settings()
    if key is not None and key.startswith(PREFIX):
        granted = service.client_secrets.find(key)
        key, settings = granted.key, granted.settings
    return await authorised(service.keys, key), settings


def _endpoint(detection: ServerVad | SemanticVad | None) -> EndpointOptions | None:
    if detection is None:
        return None
    if isinstance(detection, ServerVad):
        return EndpointOptions(after_silence(detection.silence_duration_ms / 1000))
    factor, most_s = EAGERNESS[detection.eagerness]
    rules = (replace(rule, silence_s=most_s) if rule.name == "silence" else rule for rule in semantic(factor))
    return EndpointOptions(tuple(rules))
