"""The process of `asr serve`: uvicorn with the app, its time-outs and its drain."""

import socket

import uvicorn
from fastapi import FastAPI

from asr.config import Config
from asr.serve import realtime
from asr.serve.app import make_app


class Server(uvicorn.Server):
    """Ends live streams, with their last words, before uvicorn closes the connections."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_s: float):
        super().__init__(config)
        self.sessions, self.drain_s = app.state.service.sessions, drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.sessions.drain(self.drain_s)
        await super().shutdown(sockets)


def make_server(cfg: Config, app: FastAPI) -> Server:
    config = uvicorn.Config(
        app,
        host=cfg.serve.host,
        port=cfg.serve.port,
        http="h11",
        lifespan="on",
        timeout_graceful_shutdown=round(cfg.serve.drain_timeout_s),
        ws="websockets-sansio",
        ws_max_size=realtime.MOST_BYTES,
        # A session that lags behind stops reading, and with that the answers to pings: they would cut off a client that
        # sends a file faster than it can be recognised. The sockets have time-outs of their own.
        ws_ping_timeout=None,
    )
    return Server(config, app, cfg.serve.drain_timeout_s)


def serve(cfg: Config) -> None:
    """Serves until SIGTERM or Ctrl-C; accepted requests are answered first."""
    make_server(cfg, make_app(cfg)).run()
