"""The process of `asr serve`: uvicorn with the app, its time-outs and its drain."""

import uvicorn

from asr.config import Config
from asr.serve.app import make_app


def serve(cfg: Config) -> None:
    """Serves until SIGTERM or Ctrl-C; accepted requests are answered first."""
    app = make_app(cfg)
    config = uvicorn.Config(
        app,
        host=cfg.serve.host,
        port=cfg.serve.port,
        http="h11",
        lifespan="on",
        timeout_graceful_shutdown=round(cfg.serve.drain_timeout_s),
    )
    uvicorn.Server(config).run()
