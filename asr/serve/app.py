"""The FastAPI app: routers, errors, and the life of the models and threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

import numpy as np
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from asr.config import Config
from asr.recognizer.recognizer import Recognizer
from asr.serve import calls, errors, feedback, live, logs, metrics, openai, page, realtime, recognize, sound
from asr.serve.draining import Draining
from asr.serve.engine import Engine
from asr.serve.feedback import Answers
from asr.serve.keys import Keys
from asr.serve.limits import Limits
from asr.serve.metrics import Counting, Metrics
from asr.serve.modes import Modes
from asr.serve.service import Service
from asr.serve.store import Store


def make_app(cfg: Config, modes: Modes | None = None) -> FastAPI:
    """The app of `asr serve`. `modes`: opened recognisers; None opens those that `cfg` names.

    Raises InputError for files that cannot be opened, before anything is served.
    """
    service = Service(cfg, modes or Modes.load(cfg), Engine(cfg.serve, cfg.threads), Metrics())
    service.metrics.gauge("asr_requests_running", "Requests being recognised", lambda: service.engine.running)
    service.metrics.gauge("asr_requests_waiting", "Requests that wait for a worker", lambda: service.engine.waiting)
    service.metrics.gauge("asr_ready", "1 while requests are taken", lambda: float(service.is_ready))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.engine.do(sound.start)
        for recognizer in set(service.modes.recognizers.values()):
            await service.engine.do(partial(_warm_up, recognizer))
        service.is_ready = True
        yield
        service.is_ready = False
        service.engine.close()

    app = FastAPI(
        title="asr",
        summary="Speech recognition",
        version=version("asr-toolkit"),
        lifespan=lifespan,
        responses=errors.DECLARED,
        docs_url=None,  # FastAPI's pages load scripts from another server
        redoc_url=None,
    )
    app.state.service = service
    _open_records(app, cfg)
    errors.handle(app)
    for module in (calls, metrics, recognize, openai, feedback, realtime, live, page):
        app.include_router(module.router)
    app.add_middleware(Draining, service=service)
    app.add_middleware(Limits, cfg=cfg.serve)
    app.add_middleware(Counting, metrics=service.metrics)
    if cfg.serve.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=cfg.serve.cors_origins, allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"], expose_headers=["x-request-id", "Retry-After"],
        )  # fmt: skip
    return app


def _open_records(app: FastAPI, cfg: Config) -> None:
    """The database of keys and answers, if one is needed. Keys stay out of the logs."""
    logs.protect()
    app.state.answers = None
    if cfg.serve.require_keys or cfg.serve.keep_text or cfg.serve.keep_audio:
        store = Store(cfg.serve.keys)
        if cfg.serve.require_keys:
            app.state.service.keys = Keys(store, cfg.serve.daily_quota, cfg.serve.rate_per_minute)
        if cfg.serve.keep_text or cfg.serve.keep_audio:
            app.state.answers = Answers(store, cfg.serve.keep_text, cfg.serve.keep_audio, cfg.serve.keep_days)
            app.state.service.keep = app.state.answers.keep


def _warm_up(recognizer: Recognizer) -> None:
    """A second of silence, so that the first request finds memory, kernels and indices in place."""
    rate_hz = recognizer.cfg.features.sample_rate_hz
    recognizer.transcribe(np.zeros(rate_hz, np.float32), rate_hz)
    if recognizer.space:
        _ = recognizer.space.labels
