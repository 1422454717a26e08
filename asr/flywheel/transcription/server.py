"""The process of `asr flywheel transcribe`."""

import socket
from collections.abc import Mapping

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """Prints the address of each transcriber once it listens. `known`: token -> name."""

    def __init__(self, app: FastAPI, known: Mapping[str, str]):
        super().__init__(uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1))
        self.known = known

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            host = socket.gethostname() if host in ("0.0.0.0", "::") else host
            shown = f"[{host}]" if ":" in host else host
            for token, name in self.known.items():
                print(f"{name}: http://{shown}:{port}/#{token}", flush=True)


def run(app: FastAPI, listener: socket.socket, known: Mapping[str, str]) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    Server(app, known).run([listener])
