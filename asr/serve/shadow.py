"""Shadow mode: the candidate hears what was answered, in a thread of its own, and its words go to the log.

No request waits for it: what is heard is a copy of what was answered. It hears nothing while all threads are busy, and
what does not fit its queue is dropped and counted.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from asr.errors import places
from asr.flywheel.request import Shadowed
from asr.serve.engine import Engine
from asr.serve.service import Answered
from asr.serve.trial import LooseThreads, Trial

MOST_WAITING_BYTES = 64 << 20  # of sounds
NICE = 19  # of the thread: it has what the others leave
_log = logging.getLogger(__name__)


class Shadow:
    """`put` logs what was heard. `engine`: that of the current recogniser, whose load decides."""

    def __init__(self, trial: Trial, put: Callable[[Shadowed], None], engine: Engine, registry: CollectorRegistry):
        self._trial, self._put, self._engine = trial, put, engine
        self._waiting_bytes, self._lock = 0, threading.Lock()
        self._thread = LooseThreads(1, "shadow")
        self._thread.submit(_be_nice)
        self.heard = Counter("asr_shadow_heard", "Requests that the candidate heard beside", registry=registry)
        self.dropped = Counter("asr_shadow_dropped", "Requests that it did not hear", ["reason"], registry=registry)

    def keep(self, answered: Answered) -> None:
        """Returns at once."""
        if answered.samples is None:
            self.dropped.labels("long").inc()
            return
        size = answered.samples.nbytes
        with self._lock:
            has_room = self._waiting_bytes + size <= MOST_WAITING_BYTES
            self._waiting_bytes += size if has_room else 0
        if has_room:
            self._thread.submit(self._hear, answered, answered.samples)
        else:
            self.dropped.labels("queue").inc()

    def close(self) -> None:
        self._thread.shutdown()

    def _hear(self, answered: Answered, samples: np.ndarray) -> None:
        try:
            if self._engine.taken >= self._engine.threads:
                self.dropped.labels("load").inc()
                return
            self._put(self._heard(answered, samples))
            self.heard.inc()
        except Exception as e:  # the next request is not lost with this one
            self.dropped.labels("error").inc()
            _log.error("the candidate failed in the shadow of %s:\n%s", answered.id, places(e))
        finally:
            with self._lock:
                self._waiting_bytes -= samples.nbytes

    def _heard(self, answered: Answered, samples: np.ndarray) -> Shadowed:
        started_s, modes = time.perf_counter(), self._trial.arm.modes
        recognizer, rest = modes.prepared(answered.caller, answered.mode, answered.options)
        spoken = replace(rest, written=False, punctuate=False)  # as the answer is logged
        if answered.is_live:  # where a detector of speech decides, too
            stream = recognizer.stream(spoken)
            stream.accept(samples, answered.sample_rate_hz)
            found = stream.finish()
        else:
            found = recognizer.transcribe(samples, answered.sample_rate_hz, spoken)
        model = modes.models.get(answered.mode, "")
        return Shadowed(answered.id, model, found, time.perf_counter() - started_s)


def _be_nice() -> None:
    with suppress(OSError, AttributeError):  # Linux alone has priorities of threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
