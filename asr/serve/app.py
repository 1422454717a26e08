"""The FastAPI app: routers, errors, and the life of the models and threads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version

import numpy as np
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.concurrency import run_in_threadpool

from asr.config import Config
from asr.errors import InputError
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.written import language_of
from asr.serve import calls, errors, feedback, live, logs, metrics, openai, page, realtime, recognize, sound
from asr.serve.draining import Draining
from asr.serve.engine import Engine
from asr.serve.feedback import Answers, Keeper
from asr.serve.following import follow
from asr.serve.keys import Keys
from asr.serve.limits import Limits
from asr.serve.metrics import Counting, Metrics
from asr.serve.modes import Modes
from asr.serve.requests import Requests
from asr.serve.service import Service
from asr.serve.shadow import Shadow
from asr.serve.store import Store
from asr.serve.trial import Trial
from asr.serve_options import ServeConfig
from asr.text.written import written


def make_app(cfg: Config, modes: Modes | None = None) -> FastAPI:
    """The app of `asr serve`. `modes`: opened recognisers; None opens those that `cfg` names.

    Raises InputError for files that cannot be opened, and for options without effect, before anything is served.
    """
    if cfg.serve.log is None:
        _refuse_log_options(cfg.serve)
    if not (cfg.serve.require_keys or cfg.serve.keep_text or cfg.serve.keep_audio):
        _refuse_keys(cfg)
    service = Service(cfg, modes or Modes.load(cfg), Engine(cfg.serve, cfg.threads), Metrics())
    if cfg.serve.candidate is not None:
        service.trial = Trial(cfg, service.metrics.registry)
    service.metrics.gauge("asr_requests_running", "Requests being recognised", lambda: service.engine.running)
    service.metrics.gauge("asr_requests_waiting", "Requests that wait for a worker", lambda: service.engine.waiting)
    service.metrics.gauge("asr_ready", "1 while requests are taken", lambda: float(service.is_ready))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.engine.do(sound.start)
        for recognizer in set(service.modes.recognizers.values()):
            await service.engine.do(partial(_warm_up, recognizer))
        service.is_ready = True
        following = asyncio.create_task(follow(service, _warm_up))
        warming = asyncio.create_task(run_in_threadpool(_warm_up_grammars, service.modes))
        yield
        service.is_ready = False
        following.cancel()
        await asyncio.wait([warming, following])
        service.engine.close()
        if service.trial:
            service.trial.arm.engine.close()
        for close in closing:
            await run_in_threadpool(close)

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
    closing = _open_records(app, cfg)
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


def _refuse_log_options(cfg: ServeConfig) -> None:
    """Raises InputError if an option says how to log while nothing is logged: the speech would be lost unnoticed."""
    usual = ServeConfig()
    for name in ("log_database", "log_sound", "log_days", "log_gb", "log_slice"):
        if (value := getattr(cfg, name)) != getattr(usual, name):
            raise InputError(f"serve.{name}={value} is for the log of requests, and nothing is logged; name its "
                             "folder, serve.log=exp/log")  # fmt: skip


def _refuse_keys(cfg: Config) -> None:
    """Raises InputError for a database that nothing reads: who names one may believe that keys are asked for."""
    if cfg.serve.keys not in (ServeConfig().keys, f"{cfg.out}/serve.db"):  # its name may hold a password
        raise InputError("serve.keys names a database, but no keys are required and no answers kept; add "
                         "require_keys=true, or leave serve.keys out")  # fmt: skip


def _open_records(app: FastAPI, cfg: Config) -> list[Callable[[], None]]:
    """The database of keys and answers, and the log of requests, as far as they are wanted -> what closes them.

    Keys stay out of what the process prints.
    """
    logs.protect()
    app.state.answers, closing = None, []
    if cfg.serve.require_keys or cfg.serve.keep_text or cfg.serve.keep_audio:
        store = Store(cfg.serve.keys)
        if cfg.serve.require_keys:
            app.state.service.keys = Keys(store, cfg.serve.daily_quota, cfg.serve.rate_per_minute)
        if cfg.serve.keep_text or cfg.serve.keep_audio:
            answers = Answers(store, cfg.serve.keep_text, cfg.serve.keep_audio, cfg.serve.keep_days)
            app.state.answers = Keeper(answers)
            app.state.service.keepers.append(app.state.answers.keep)
            closing.append(app.state.answers.close)
    service: Service = app.state.service
    if cfg.serve.log is not None:
        requests = Requests(service)
        service.keepers.append(requests.keep)
        if service.trial and service.trial.is_shadow:
            shadow = Shadow(service.trial, requests.keep_shadow, service.engine, service.metrics.registry)
            service.keepers.append(shadow.keep)  # after the request itself
            closing.append(shadow.close)
        closing.append(requests.close)
    return closing


def _warm_up(recognizer: Recognizer) -> None:
    """A second of silence, so that the first request finds memory, kernels and indices in place."""
    rate_hz = recognizer.cfg.features.sample_rate_hz
    silence = np.zeros(rate_hz, np.float32)
    if recognizer.needs_list:
        recognizer.log_probs([silence])
    else:
        recognizer.transcribe(silence, rate_hz)
    if recognizer.space:
        _ = recognizer.space.labels


def _warm_up_grammars(modes: Modes) -> None:
    """Compiles the grammars of written forms, which takes seconds, before a request asks for them.

    Requests are answered meanwhile, as hardly any asks for written forms at once.
    """
    for recognizer in set(modes.recognizers.values()):
        with suppress(InputError):  # its words are of a language without written forms
            written("a", language_of(recognizer.space, recognizer.tokens))
