"""A server that speaks the protocol of asr/serve without a recogniser: the words depend on the seconds heard alone."""

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, Response

from asr.config import Config
from asr.serve import page

SAID = "zero one two <b> four five six seven eight nine".split()
WORD_S = 0.4


@dataclass
class Mock:
    """What the server was asked, and what it refuses."""

    key: str | None = None
    quota_used_up: bool = False
    feedback_down: bool = False
    keeps_answers: bool = True
    forgets_answers: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, str]] = field(default_factory=list)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    break_after: int | None = None  # bytes; the connection breaks once after so many

    def refusal(self, key: str | None) -> JSONResponse | None:
        if self.key and key != self.key:
            return refuse(401, "the API key is not known", "invalid_api_key")
        if self.quota_used_up:
            return refuse(429, "the daily quota is used up", "insufficient_quota", {"Retry-After": "7800"})
        return None


def refuse(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers=headers)


def words_until(seconds: float) -> list[dict[str, Any]]:
    return [
        {"word": word, "start_s": k * WORD_S, "end_s": k * WORD_S + 0.3, "confidence": 0.35 if k == 2 else 0.97}
        for k, word in enumerate(SAID)
        if k * WORD_S + 0.3 <= seconds
    ]


def text(words: list[dict[str, Any]]) -> str:
    return " ".join(word["word"] for word in words)


def make_app(mock: Mock) -> FastAPI:
    app = FastAPI()
    modes = SimpleNamespace(names=["dictation", "word"])
    app.state.service = SimpleNamespace(cfg=Config(), modes=modes, keys=mock.key)  # what the page's router asks for
    app.state.answers = mock if mock.keeps_answers else None
    app.include_router(page.router)

    def bearer(request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or None

    @app.get("/v1/models")
    async def models(request: Request) -> Any:
        if mock.key and bearer(request) != mock.key:
            return mock.refusal(bearer(request))
        return {"object": "list", "data": [{"id": "digits", "object": "model", "created": 0, "owned_by": "asr"}]}

    @app.post("/v1/recognize")
    async def recognize(request: Request) -> Any:
        if refused := mock.refusal(bearer(request)):
            return refused
        form = await request.form()
        mock.requests.append(json.loads(str(form["request"])))
        words = words_until(2.0)
        answer = {"id": "file-1", "mode": "dictation", "text": text(words), "words": words, "confidence": 0.9}
        return answer | {"rejected": False, "alternatives": [], "duration_s": 2.0}

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        if mock.feedback_down:
            return refuse(503, "the store is locked", "store_unavailable", {"Retry-After": "2"})
        if mock.forgets_answers or not mock.keeps_answers:
            return refuse(404, "there is no answer with this id, or it is no longer kept", "not_found")
        mock.feedback.append(await request.json())
        return Response(status_code=204)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        if refused := mock.refusal(socket.query_params.get("key")):
            await socket.send_json({"type": "error", **json.loads(bytes(refused.body))})
            return await socket.close(4000 + refused.status_code)
        try:
            await serve_stream(socket, mock)
        except WebSocketDisconnect:
            pass

    return app


async def serve_stream(socket: WebSocket, mock: Mock) -> None:
    first = json.loads(await socket.receive_text())
    if first["type"] == "start":
        mock.requests.append(first)
        name = f"session-{len(mock.sessions)}"
        mock.sessions[name] = bytearray()
        await socket.send_json({"type": "started", "session": name})
    else:
        name = first["session"]
        await socket.send_json({"type": "started", "session": name, "received_bytes": len(mock.sessions[name])})
    heard, shown = mock.sessions[name], -1
    rate_hz = mock.requests[-1]["sample_rate_hz"]
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text"):
            assert json.loads(message["text"]) == {"type": "close"}
            break
        heard += message["bytes"]
        words = words_until(len(heard) / 2 / rate_hz)
        if len(words) != shown:
            shown = len(words)
            partial = {"type": "partial", "utterance": 0, "text": text(words), "words": words}
            await socket.send_json(partial | {"stable": max(0, shown - 1)})
        if mock.break_after is not None and len(heard) > mock.break_after:
            mock.break_after = None
            return await socket.close(1012)
    seconds = len(heard) / 2 / rate_hz
    words = words_until(seconds)
    final = {"type": "final", "utterance": 0, "id": f"{name}-0", "text": text(words), "words": words}
    await socket.send_json(final | {"confidence": 0.9, "start_s": 0.0, "end_s": seconds, "from_finalize": False})
    await socket.send_json({"type": "closed", "audio_s": seconds})
    await asyncio.sleep(0.1)
    await socket.close()


class Server(uvicorn.Server):
    """Runs in a thread: `with` starts it and ends it; `address` is where."""

    def __init__(self, app: FastAPI, port: int = 0):
        super().__init__(
            uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
        )

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"
