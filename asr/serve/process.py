"""The process of `asr serve`: uvicorn with the app, its time-outs and its drain."""

import asyncio
import json
import logging
import math
import resource
import signal
import socket
import threading
from typing import Any

import h11
import torch
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from asr.config import Config
from asr.errors import InputError
from asr.serve import realtime
from asr.serve.app import make_app
from asr.serve.errors import Refused
from asr.serve.service import Service

MOST_FILES = 65_536  # a connection is an open file
# These loggers name words of requests that cannot be used. The answer names them, too.
TALKATIVE = ("asr.search.phrases", "asr.search.space", "asr.text.lexicon")


def serve(cfg: Config) -> None:
    """Serves until SIGTERM or Ctrl-C; accepted requests are answered first.

    Raises InputError for an address that cannot be listened on, and for models that cannot be opened.
    """
    _allow_connections()
    torch.set_num_threads(1)  # before models are opened: onnxruntime takes its number of threads from here
    with _bound(cfg.serve.host, cfg.serve.port) as listener:
        app = make_app(cfg)
        if not cfg.serve.log_text:
            for name in TALKATIVE:
                logging.getLogger(name).setLevel(logging.ERROR)
        make_server(cfg, app).run([listener])


def make_server(cfg: Config, app: FastAPI) -> "Server":
    config = uvicorn.Config(
        app,
        http=_connection_of(cfg.serve.header_timeout_s),
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=math.ceil(cfg.serve.drain_timeout_s),
        ws="websockets-sansio",
        ws_max_size=realtime.MOST_BYTES,
        # A session that lags behind stops reading, and with that the answers to pings: they would cut off a client that
        # sends a file faster than it can be recognised. The sockets have time-outs of their own.
        ws_ping_timeout=None,
    )
    return Server(config, app.state.service)


class Server(uvicorn.Server):
    """uvicorn that tells the service of its end before it closes connections, and ends with exit code 0 on SIGTERM."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self.service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        in_main = threading.current_thread() is threading.main_thread()  # which alone may handle signals
        if in_main and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(signal.SIGHUP, self.handle_exit)  # a closed terminal loses no request either
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on http://{shown}:{port}; /docs lists the calls", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.service.drain()
        await super().shutdown(sockets)
        self._captured_signals.clear()  # uvicorn would raise them again, and a drained service has not failed


def _allow_connections() -> None:
    """Raises the soft limit of open files, which is 1024 on many systems, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address, which does not listen yet: nobody waits while the models are opened."""
    try:
        kind, address = next((found[0], found[4]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        listener = socket.socket(kind, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as e:
        raise InputError(
            f"cannot listen on {host} port {port}: {e.strerror}; choose others with host= and port="
        ) from None
    return listener


def _connection_of(header_timeout_s: float) -> type[H11Protocol]:
    """uvicorn's connection, which answers 408 if the headers of a request do not come in time."""

    class Connection(H11Protocol):
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

        def _is_idle(self) -> bool:
            """No request is being answered, so the bytes that come are the headers of the next one."""
            return self.cycle is None or self.cycle.response_complete

        def _arm(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(header_timeout_s, self._refuse)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self) -> None:
            refused = Refused(408, f"the headers of the request did not come within {header_timeout_s:g} s")
            body = json.dumps(refused.body()).encode()
            head = f"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            if not self.transport.is_closing():
                self.transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
                self.transport.close()

    return Connection
