"""The log of requests, for `asr flywheel`: each answer with its sound, if the operator names a folder (`serve.log`).

A thread of its own logs (asr.flywheel.writer): no request waits for the disk, and none fails with it. What cannot be
logged is counted in /metrics.
"""

import logging
import time
from contextlib import suppress
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from asr.errors import InputError, places
from asr.flywheel.log import RequestLog
from asr.flywheel.request import Heard, Shadowed
from asr.flywheel.writer import Writer
from asr.recognizer.written import language_of
from asr.serve.service import Answered, Service

_log = logging.getLogger(__name__)
GB = 1e9


class Requests:
    """Raises InputError if the log cannot be opened."""

    def __init__(self, service: Service):
        cfg, self._service = service.cfg.serve, service
        assert cfg.log is not None
        log = RequestLog(cfg.log, cfg.log_database, cfg.log_slice)
        self._writer = Writer(log, cfg.log_days, cfg.log_gb * GB)
        self._languages = {mode: self._language(mode) for mode in service.modes.names}
        self._toolkit = version("asr-toolkit")
        service.metrics.registry.register(_Counts(self._writer))
        service.metrics.gauge("asr_log_waiting", "Requests that wait to be logged", lambda: self._writer.waiting)

    def keep(self, answered: Answered) -> None:
        """Returns at once, and raises nothing: the answer is sent whatever happens here."""
        try:
            self._writer.put(self._heard(answered))
        except Exception as e:
            _log.error("the request %s could not be logged:\n%s", answered.id, places(e))

    def _heard(self, answered: Answered) -> Heard:
        return Heard(
            id=answered.id,
            time_s=time.time(),
            key_id=answered.caller.id,
            key_name=answered.caller.name,
            mode=answered.mode,
            language=self._languages[answered.mode],
            model=answered.model,
            toolkit=self._toolkit,
            hypothesis=answered.spoken or answered.hypothesis,
            ignored=answered.ignored,
            level_db=answered.level_db,
            latency_s=answered.seconds,
            samples=answered.samples if self._service.cfg.serve.log_sound else None,
            sample_rate_hz=answered.sample_rate_hz,
        )

    def keep_shadow(self, shadowed: Shadowed) -> None:
        """What a candidate heard in a request that was put before. Returns at once."""
        self._writer.put(shadowed)

    def close(self) -> None:
        self._writer.close()

    def _language(self, mode: str) -> str | None:
        if self._service.cfg.serve.language:
            return self._service.cfg.serve.language
        recognizer = self._service.modes.recognizers[mode]
        with suppress(InputError):  # its words tell none
            return language_of(recognizer.space, recognizer.tokens)
        return None


class _Counts(Collector):
    """What was logged and dropped, for /metrics."""

    def __init__(self, writer: Writer):
        self._writer = writer

    def collect(self) -> list[CounterMetricFamily]:
        logged = CounterMetricFamily("asr_log_requests", "Requests logged", self._writer.logged)
        dropped = CounterMetricFamily("asr_log_dropped", "Requests that could not be logged", labels=["reason"])
        for reason, number in self._writer.dropped.items():
            dropped.add_metric([reason], number)
        return [logged, dropped]
