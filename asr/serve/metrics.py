"""How the service is doing: /healthz (it runs), /readyz (it takes requests), /metrics (in Prometheus's format)."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr.hypothesis import Hypothesis
from asr.serve.errors import Refused

router = APIRouter(tags=["service"])
disable_created_metrics()  # they would double the number of series

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_FACTORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_DECIBELS = (-60, -50, -40, -35, -30, -25, -20, -15, -10, -5, 0)
SILENCE_DB = -120.0


class Stages:
    """The seconds that a request spends in each stage: queue, decode, prepare, model, search."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start_s


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "asr_requests", "Answers by call and status", ["path", "status"], registry=self.registry
        )
        self.latency = self._histogram("asr_request_seconds", "Time to the end of the answer", _SECONDS, "path")
        self.stages = self._histogram("asr_stage_seconds", "Time of a recognised request by stage", _SECONDS, "stage")
        self.factor = self._histogram("asr_real_time_factor", "Seconds of work per second of audio", _FACTORS, "mode")
        self.unread = Counter("asr_unread_connections", "Connections cut off because their client did not read",
                              registry=self.registry)  # fmt: skip
        self.audio = Counter("asr_audio_seconds", "Seconds of audio recognised", ["mode"], registry=self.registry)
        self.level = self._histogram("asr_audio_level_db", "Mean level of a recording in dBFS", _DECIBELS)
        self.confidence = self._histogram("asr_word_confidence", "Confidence of a recognised word", _SHARES, "mode")
        self.words = Counter("asr_words", "Words recognised", ["mode", "accepted"], registry=self.registry)
        self.rejected = Counter("asr_rejected", "Recordings of which no word was accepted", ["mode"],
                                registry=self.registry)  # fmt: skip

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A number that is asked for when the metrics are read."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def recognised(self, mode: str, hypothesis: Hypothesis, level_db: float, stages: Stages) -> None:
        for name, seconds in stages.seconds.items():
            self.stages.labels(name).observe(seconds)
        work_s = sum(seconds for name, seconds in stages.seconds.items() if name != "queue")
        if hypothesis.duration_s > 0:
            self.factor.labels(mode).observe(work_s / hypothesis.duration_s)
        self.audio.labels(mode).inc(hypothesis.duration_s)
        self.level.observe(level_db)
        for word in hypothesis.words:
            self.confidence.labels(mode).observe(word.confidence)
            self.words.labels(mode, str(word.accepted).lower()).inc()
        if not any(word.accepted for word in hypothesis.words):
            self.rejected.labels(mode).inc()

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self.registry)


def level_db(samples: np.ndarray) -> float:
    """The mean level of samples (T,) in dB relative to full scale."""
    power = float(np.dot(samples, samples)) / max(1, len(samples))
    return max(SILENCE_DB, 10 * float(np.log10(power))) if power > 0 else SILENCE_DB


class Counting:
    """Middleware that counts answers and their time by the path of the route, never by that of the request."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start_s = 0, time.perf_counter()

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, str(status or 499)).inc()
            self.metrics.latency.labels(path).observe(time.perf_counter() - start_s)


@router.get("/healthz", summary="The process runs")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="The models are loaded and warm")
async def readyz(request: Request) -> dict[str, str]:
    """503 before the warm-up and while the service drains."""
    if not request.app.state.service.is_ready:
        raise Refused(503, "the service is starting or stopping", retry_after_s=1, code="not_ready")
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics in Prometheus's format", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    return Response(generate_latest(request.app.state.service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
