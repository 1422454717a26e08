"""uvicorn's connections with limits of their own: how slowly headers may come, and how slowly answers may be read."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from asr.serve.errors import Refused
from asr.serve.limits import SLOWEST_BYTES_PER_S


def connection_of(header_timeout_s: float) -> type[H11Protocol]:
    return type("Connection", (Connection,), {"timeout_s": header_timeout_s})


class Connection(H11Protocol):
    """A connection that answers 408 if the headers of a request do not come in time, and whose own errors are JSON."""

    timeout_s: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._is_idle():
            self._arm()
        super().data_received(data)
        if not self._is_idle():
            self._disarm()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._disarm()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._end(Refused(400, "this is not HTTP: the head of the request or its length is malformed"))

    def cut(self, refused: Refused) -> None:
        """Ends the request that is not answered yet: with this answer, or in the middle of one that has begun."""
        if self._is_idle():
            return
        if self.cycle.response_started:
            self.transport.close()
        else:
            self._end(refused)
        self.cycle.disconnected = self.cycle.response_started = True  # what the handler sends from now on is dropped
        self.cycle.message_event.set()

    def _is_idle(self) -> bool:
        """No request is being answered, so the bytes that come are the headers of the next one."""
        return self.cycle is None or self.cycle.response_complete

    def _arm(self) -> None:
        if self._timer is None:
            late = Refused(408, f"the headers of the request did not come within {self.timeout_s:g} s")
            self._timer = self.loop.call_later(self.timeout_s, self._end, late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, refused: Refused) -> None:
        """Answers past the app, and closes."""
        if self.transport.is_closing():
            return
        body = json.dumps(refused.body()).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"{name}: {value}\r\n" for name, value in (headers | refused.headers()).items()]
        first = f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\n"
        self.transport.write(f"{first}{''.join(lines)}\r\n".encode() + body)
        self.transport.close()


class LiveConnection(WebSocketsSansIOProtocol):
    """A WebSocket that reads nothing while its client does not: each ping would add an answer to the buffer."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()  # and reads on
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message


class Unread:
    """Breaks connections whose client does not read: within `timeout_s`, and a second more for each 8 kB that it takes.

    A transport that is closed waits for its client, too, and would keep its socket and buffer for ever.
    """

    def __init__(self, timeout_s: float, count: Callable[[], None]):
        self.timeout_s, self.count = timeout_s, count
        self._left: dict[asyncio.WriteTransport, tuple[int, float]] = {}  # bytes, and when they must be read

    def sweep(self, transports: Iterable[asyncio.WriteTransport], now: float) -> None:
        left = {}
        for transport in transports:
            if size := transport.get_write_buffer_size():
                before, until = self._left.get(transport, (size, now + self.timeout_s))
                until += max(0, before - size) / SLOWEST_BYTES_PER_S
                if now > until:
                    self.count()
                    _break(transport)
                else:
                    left[transport] = size, until
        self._left = left


def _break(transport: asyncio.WriteTransport) -> None:
    """Closes without waiting; the system drops what it holds for the client, too."""
    with suppress(OSError):  # the socket may have been closed meanwhile
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
