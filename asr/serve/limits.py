"""Limits of requests' bodies, kept while they are read: their size, that of all together, how slowly they may come."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr.serve.access import HOLDER
from asr.serve.errors import Refused, answer
from asr.serve.shares import Share
from asr.serve_options import ServeConfig

SLOWEST_BYTES_PER_S = 8_000  # each part of this size earns another second
RETRY_S = 5.0
TWO_LENGTHS = Refused(400, "the request has both Content-Length and Transfer-Encoding; proxies may disagree on its end")
LINGER_S = 2.0  # how long the rest of a body is thrown away after an early answer


class Limits:
    """Middleware: `receive` raises Refused(413) for a body that is too large, Refused(408) for a slow one, and
    Refused(503) if the bodies of all requests are too large together, or Refused(429) those of one key.

    An answer that comes before the whole body was read ends the connection. The rest of the body is read and thrown
    away for a moment first; otherwise the client's system would drop the answer with the broken connection.
    """

    def __init__(self, app: ASGIApp, cfg: ServeConfig):
        self.app, self.cfg = app, cfg
        self.held = 0  # bytes of the bodies of requests that are not yet answered
        message = "the uploads of this key have more than {most} bytes; repeat the request when one is answered"
        self.shares = Share(cfg.max_held_bytes // 2, message, "too_many_bytes")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, self)

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_read:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and not body.is_read:
                await send({**message, "more_body": True})
                await body.discard()
                message = {"type": "http.response.body"}
            await send(message)

        app = answer(TWO_LENGTHS) if body.has_two_lengths else self.app
        try:
            await app(scope, body.receive, send_last)
        finally:
            body.give_back()


class _Body:
    def __init__(self, scope: Scope, receive: Receive, limits: Limits):
        headers: dict[bytes, bytes] = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self.length = int(length) if length.isdigit() else 0
        self.has_two_lengths = {b"content-length", b"transfer-encoding"} <= headers.keys()
        self.waits_for_us = headers.get(b"expect", b"").lower() == b"100-continue"
        self.is_read = not self.length and b"transfer-encoding" not in headers
        self.size, self.start_s = 0, time.monotonic()
        self._scope, self._receive, self._cfg, self._limits = scope, receive, limits.cfg, limits
        self._shared: dict[str, int] = {}  # bytes of this body in the share of its caller, who may be known late

    async def receive(self) -> Message:
        if self.is_read:
            return await self._receive()
        most = self._cfg.max_upload_bytes
        if self.length > most:
            raise self._too_large()
        self.waits_for_us = False
        left_s = self.start_s + self._cfg.body_timeout_s + self.size / SLOWEST_BYTES_PER_S - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, min(left_s, self._cfg.body_timeout_s)))
        except asyncio.TimeoutError:
            raise Refused(408, "the body of the request came too slowly; send it again", code="timeout") from None
        size = len(message.get("body", b""))
        self.size += size
        self._limits.held += size
        self.is_read = not message.get("more_body", False)
        if self.size > most:
            raise self._too_large()
        caller = self._scope.get(HOLDER, "")
        self._limits.shares.take(caller, size, self._shared.get(caller, 0), RETRY_S)
        self._shared[caller] = self._shared.get(caller, 0) + size
        if max(self._cfg.max_held_bytes, self.size) < self._limits.held:  # a body alone always has room
            raise Refused(503, "the service holds as many uploads as it can; repeat the request later", RETRY_S,
                          code="overloaded")  # fmt: skip
        return message

    def give_back(self) -> None:
        self._limits.held -= self.size
        for caller, size in self._shared.items():
            self._limits.shares.give_back(caller, size)

    async def discard(self) -> None:
        """Throws the rest of the body away, unless the client waits for a sign before it sends it."""

        async def discard() -> None:
            message: dict[str, Any] = {"more_body": True}
            while message.get("more_body", False):
                message = dict(await self._receive())

        if not self.waits_for_us:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(discard(), LINGER_S)

    def _too_large(self) -> Refused:
        most = self._cfg.max_upload_bytes
        return Refused(
            413, f"the body of the request has more than {most} bytes; send less, or compress the audio",
            code="too_large",
        )  # fmt: skip
