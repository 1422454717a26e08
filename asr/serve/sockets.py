"""What both WebSockets are made of: a connection with time-outs, and a session that hears it in worker threads.

    connection = Connection(websocket, idle_s=10.0, most_bytes=1 << 20)
    session = Session(service.engine, talk, tell=connection.send)
    message = await connection.receive()     # or Refused: too long, too large; None: the client is gone
    await session.take(message)              # waits while the session lags behind
    await session.run()                      # sends what `talk` answers, until it is over

The event loop only moves messages: parsing, decoding and recognising run in worker threads, one step at a time per
session. A step ends with an event, or after `STEP_S`, and all sessions wait in one line, so they share the threads
fairly.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from asr.errors import InputError, places
from asr.serve.access import Caller
from asr.serve.engine import Engine
from asr.serve.errors import Refused
from asr.serve.shares import Share

Event = dict[str, Any]
Message = str | bytes

STEP_S = 0.05  # of a worker's time; one piece of work, of half a second of sound at most, may take longer
SEND_S = 10.0  # a client that takes no event for so long is cut off
BACKLOG_BYTES = 1 << 20  # of messages that a session has not heard yet; its client waits then
CLOSED = (1000, 1005)  # codes of a client that ends by itself; browsers send no code
CLOSE_CODE = 4000  # plus the HTTP status of the error
_log = logging.getLogger(__name__)


class Gone(Exception):
    """The client has left, or takes no events."""


class Connection:
    """A WebSocket that was accepted. `idle_s`: longest silence of the client; `most_bytes`: its largest message."""

    def __init__(self, websocket: WebSocket, idle_s: float, most_bytes: int):
        self.websocket, self.idle_s, self.most_bytes = websocket, idle_s, most_bytes
        self.has_said_goodbye = False  # the client closed the connection, which did not break
        self.is_unread = False  # the client takes no events

    async def receive(self, session: "Session | None" = None) -> Message | None:
        """The next message; None once the client is gone. Raises Refused(408) and Refused(413).

        A client that waits for `session` may be silent.
        """
        while True:
            try:
                message = await asyncio.wait_for(self.websocket.receive(), self.idle_s)
                break
            except asyncio.TimeoutError:
                if session is None or not session.is_busy:
                    raise Refused(408, f"no message came for {self.idle_s:g} s; send keep_alive in pauses") from None
            except RuntimeError:  # closed by this side
                return None
        if message["type"] == "websocket.disconnect":
            # uvicorn gives a reason only with a closing frame; a connection that breaks has the code 1005, too
            self.has_said_goodbye = message.get("code") in CLOSED and message.get("reason") is not None
            return None
        content: Message = message.get("text") or message.get("bytes") or (b"" if message.get("text") is None else "")
        size = len(content)
        if size > self.most_bytes:
            raise Refused(413, f"a message has {size} bytes; at most {self.most_bytes} are taken, so send it in parts")
        return content

    async def send(self, event: Event) -> None:
        """Raises Gone."""
        if self.websocket.application_state != WebSocketState.CONNECTED:
            raise Gone
        try:
            await asyncio.wait_for(self.websocket.send_text(json.dumps(event, ensure_ascii=False)), SEND_S)
        except asyncio.TimeoutError as e:
            self.is_unread = True
            raise Gone from e
        except (WebSocketDisconnect, RuntimeError, OSError) as e:
            raise Gone from e

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """A client that takes no events finds code 4408 if it reads on before its socket is cut off."""
        if self.is_unread:
            code, reason = CLOSE_CODE + 408, f"events were not read for {SEND_S:g} s"
        if self.websocket.application_state == WebSocketState.CONNECTED:
            try:
                await asyncio.wait_for(self.websocket.close(code, reason), SEND_S)
            except (asyncio.TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
                pass

    async def refuse(self, refused: Refused, event: Event | None = None) -> None:
        """Tells the error, as `event`, and closes. The code is 4000 plus the error's HTTP status."""
        try:
            await self.send(event or {"type": "error", **refused.event()})
        except Gone:
            return
        await self.close(CLOSE_CODE + refused.status, refused.message.encode()[:120].decode(errors="ignore"))


class Talk(Protocol):
    """What a session answers. Its methods run in worker threads, one at a time; each `next` is one piece of work."""

    is_over: bool  # nothing more is heard

    def hear(self, message: Message, lags: bool) -> Iterator[list[Event]]:
        """`lags`: more messages wait, so what is only of passing interest may be left out."""
        ...

    def held_back_s(self) -> float | None:
        """Seconds until `wait` has something to say; None if it has not."""
        ...

    def wait(self) -> Iterator[list[Event]]: ...

    def finish(self) -> Iterator[list[Event]]:
        """The last events, when the service stops."""
        ...

    def close(self) -> None: ...


class Session:
    """The messages of one client on their way through a talk."""

    def __init__(self, engine: Engine, talk: Talk, tell: Callable[[Event], Awaitable[None]]):
        self.engine, self.talk, self.tell = engine, talk, tell
        self._backlog: deque[Message] = deque()
        self._backlog_bytes = 0
        self._changed = asyncio.Event()
        self._is_hearing = False
        self.is_draining = False
        self._running: asyncio.Future[list[Event] | None] | None = None  # the latest step

    @property
    def is_busy(self) -> bool:
        """Whether the session has not heard all messages yet."""
        return bool(self._backlog) or self._is_hearing

    async def has_room(self) -> None:
        """Waits until the session has caught up."""
        while self._backlog_bytes >= BACKLOG_BYTES:
            self._changed.clear()
            await self._changed.wait()

    def take(self, message: Message) -> None:
        self._backlog.append(message)
        self._backlog_bytes += len(message)
        self._changed.set()

    def drain(self) -> None:
        """Ends the talk once it has heard what has arrived."""
        self.is_draining = True
        self._changed.set()

    async def run(self) -> None:
        """Until the talk is over. Raises Refused for what the client did wrong, and for a failure of the service."""
        while not self.talk.is_over:
            message = await self._next()
            if message is not None:
                steps = self.talk.hear(message, lags=bool(self._backlog))
            else:
                steps = self.talk.finish() if self.is_draining else self.talk.wait()
            self._is_hearing = True
            while (events := await self._step(steps)) is not None:
                for event in events:
                    await self.tell(event)
            self._is_hearing = False

    async def _next(self) -> Message | None:
        """The next message, or None if the talk has something to say before it comes, or should end."""
        while not self._backlog:
            if self.is_draining:
                return None
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), self.talk.held_back_s())
            except asyncio.TimeoutError:
                return None
        message = self._backlog.popleft()
        self._backlog_bytes -= len(message)
        self._changed.set()
        return message

    async def _step(self, steps: Iterator[list[Event]]) -> list[Event] | None:
        try:
            self._running = asyncio.ensure_future(self.engine.live(partial(_step, steps)))
            return await asyncio.shield(self._running)
        except Refused:
            raise
        except InputError as e:
            raise Refused(400, str(e)) from None
        except Exception as e:
            _log.error("a stream failed:\n%s", places(e))
            raise Refused(500, "the service failed; its log has the details", code="internal_error") from e

    async def close(self) -> None:
        """Frees what the talk holds, once no step of it runs."""
        if self._running and not self._running.done():
            await asyncio.wait([self._running])
        await self.engine.live(self.talk.close)


def _step(work: Iterator[list[Event]]) -> list[Event] | None:
    """The next events, which may be none after `STEP_S`; None if all work is done."""
    until_s = time.monotonic() + STEP_S
    for events in work:
        if events or time.monotonic() >= until_s:
            return events
    return None


class Drainable(Protocol):
    def drain(self) -> None: ...


class Sessions:
    """The sessions of the service, by id: at most `most`, of which one key may have `of_key` (None: half)."""

    def __init__(self, most: int, of_key: int | None = None):
        self.most, self.is_draining = most, False
        self.open: dict[str, Drainable | None] = {}  # None: about to begin
        message = "this key has {most} streams, as many as it may; try again when one has ended"
        self._share = Share(of_key or max(1, most // 2), message, "too_many_sessions")
        self._callers: dict[str, str] = {}  # who holds each session

    @contextmanager
    def place(self, id: str, caller: Caller) -> Iterator[None]:
        """Takes a place, and gives it back if the session cannot begin.

        Raises Refused(503) if there is none, and Refused(429) if this caller has its share of them.
        """
        if self.is_draining:
            raise Refused(503, "the service is stopping; connect again", 1.0, code="not_ready")
        if len(self.open) >= self.most:
            raise Refused(503, f"all {self.most} streams are taken; try again later", 5.0, code="too_many_sessions")
        self._share.take(caller.id)
        self.open[id], self._callers[id] = None, caller.id
        try:
            yield
        except BaseException:
            self.remove(id)
            raise

    def remove(self, id: str) -> None:
        self.open.pop(id, None)
        if (caller := self._callers.pop(id, None)) is not None:
            self._share.give_back(caller)

    async def drain(self, most_s: float) -> None:
        """Takes no more sessions and ends those there are, within `most_s` seconds."""
        self.is_draining = True
        for session in self.open.values():
            if session:
                session.drain()
        until = time.monotonic() + most_s
        while self.open and time.monotonic() < until:
            await asyncio.sleep(0.02)
