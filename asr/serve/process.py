"""The process of `asr serve`: uvicorn with the app, its time-outs and its drain."""

import asyncio
import logging
import math
import resource
import signal
import socket
import sys
import threading
import time

import torch
import uvicorn
from fastapi import FastAPI

from asr.config import Config
from asr.serve import realtime
from asr.serve.address import unusable
from asr.serve.app import make_app
from asr.serve.connections import Connection, LiveConnection, Unread, connection_of
from asr.serve.draining import STOPPING
from asr.serve.service import Service

_log = logging.getLogger(__name__)
LAST_S = 1.0  # for connections to close after the drain
SWEEP_S = 0.5  # between two looks at what clients have not read
MOST_FILES = 65_536  # a connection is an open file
# These loggers name words of requests that cannot be used. The answer names them, too.
TALKATIVE = ("asr.search.phrases", "asr.search.space", "asr.text.lexicon")


def serve(cfg: Config, listener: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C; accepted requests are answered first, or the exit code is 1.

    Raises InputError for models that cannot be opened, and if another process has come to listen on the address.
    """
    _allow_connections()
    torch.set_num_threads(1)  # before models are opened: onnxruntime takes its number of threads from here
    app = make_app(cfg)
    if not cfg.serve.log_text:
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
    server = make_server(cfg, app)
    server.run([listener])
    if server.has_cut:
        sys.exit(1)


def make_server(cfg: Config, app: FastAPI) -> "Server":
    config = uvicorn.Config(
        app,
        http=connection_of(cfg.serve.header_timeout_s),
        lifespan="on",
        server_header=False,
        ws=LiveConnection,
        ws_max_size=realtime.MOST_BYTES,
        # A session that lags behind stops reading, and with that the answers to pings: they would cut off a client that
        # sends a file faster than it can be recognised. The sockets have time-outs of their own.
        ws_ping_timeout=None,
    )
    return Server(config, app.state.service)


class Server(uvicorn.Server):
    """uvicorn that answers what was accepted before it stops to listen, and cuts off clients that do not read."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self.service = service
        self.has_cut = False  # requests that were accepted, at the end of the drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            try:
                listener.listen(self.config.backlog)
            except OSError as e:  # another process bound itself to the address, too, and listens already
                raise unusable(self.service.cfg.serve.host, self.service.cfg.serve.port, e) from None
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._watch())
        in_main = threading.current_thread() is threading.main_thread()  # which alone may handle signals
        if in_main and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(signal.SIGHUP, self.handle_exit)  # a closed terminal loses no request either
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on http://{shown}:{port}; /docs lists the calls", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Health is told and new work refused until all that was accepted is answered, the time is over, or Ctrl-C
        comes once more."""
        until_s = time.monotonic() + self.service.cfg.serve.drain_timeout_s
        drained = asyncio.create_task(self.service.drain())
        while self.service.accepted or not drained.done():
            if self.force_exit or time.monotonic() > until_s:
                self._cut()
                break
            await asyncio.sleep(0.05)
        drained.cancel()
        self.config.timeout_graceful_shutdown = math.ceil(max(LAST_S, until_s - time.monotonic()))
        await super().shutdown(sockets)
        self._captured_signals.clear()  # uvicorn would raise them again, and a drained service has not failed

    def _cut(self) -> None:
        """Refuses what was accepted and is not answered."""
        self.has_cut = True
        self.force_exit = False  # uvicorn would leave the app without its end
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.cut(STOPPING)

    async def _watch(self) -> None:
        unread = Unread(self.service.cfg.serve.send_timeout_s, self.service.metrics.unread.inc)
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                unread.sweep([connection.transport for connection in self.server_state.connections], time.monotonic())
            except Exception as e:  # the next look is not lost with this one
                _log.error("looking for clients that do not read failed", exc_info=e)


def _allow_connections() -> None:
    """Raises the soft limit of open files, which is 1024 on many systems, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
