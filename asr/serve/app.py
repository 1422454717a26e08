"""The FastAPI app: routers, errors, and the life of the models and threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec

import numpy as np
from fastapi import FastAPI

from asr.config import Config
from asr.recognizer.recognizer import Recognizer
from asr.serve import errors, metrics
from asr.serve.engine import Engine
from asr.serve.modes import Modes
from asr.serve.service import Service


def make_app(cfg: Config, modes: Modes | None = None) -> FastAPI:
    """The app of `asr serve`. `modes`: opened recognisers; None opens those that `cfg` names.

    Raises InputError for files that cannot be opened, before anything is served.
    """
    service = Service(cfg, modes or Modes.load(cfg), Engine(cfg.serve, cfg.threads))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for recognizer in set(service.modes.recognizers.values()):
            await service.engine.do(partial(_warm_up, recognizer))
        service.is_ready = True
        yield
        service.is_ready = False
        service.engine.close()

    app = FastAPI(title="asr", summary="Speech recognition", lifespan=lifespan)
    app.state.service = service
    errors.handle(app)
    app.include_router(metrics.router)
    # Until the other parts land; each module has a `router`.
    for name in ("openai", "recognize", "feedback", "realtime", "live", "page"):
        if find_spec(f"asr.serve.{name}"):
            app.include_router(__import__(f"asr.serve.{name}", fromlist=["router"]).router)
    return app


def _warm_up(recognizer: Recognizer) -> None:
    """A second of silence, so that the first request finds memory, kernels and indices in place."""
    if recognizer.cfg.features.kind != "stored":
        rate_hz = recognizer.cfg.features.sample_rate_hz
        recognizer.transcribe(np.zeros(rate_hz, np.float32), rate_hz)
