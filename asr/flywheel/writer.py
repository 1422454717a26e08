"""The thread through which a service logs. No request waits for it, and none fails with it.

    writer = Writer(log, days=90, most_bytes=1e10)
    writer.put(heard)                    # returns at once
    writer.close()

A request waits in a queue of bounded size until it is logged. Beyond that, and when the disk or the database fails for
`KEEP_S`, requests are dropped and counted by reason.
"""

import logging
import threading
import time
from collections import Counter, deque

from asr.database import DatabaseFailed
from asr.errors import places
from asr.flywheel.log import RequestLog
from asr.flywheel.request import Heard, Shadowed

_log = logging.getLogger(__name__)
MOST_WAITING_BYTES = 256 << 20  # of requests that wait; one that is larger has room alone
ROW_BYTES = 2000  # of a request without its sound
WORD_BYTES = 200
KEEP_S, RETRY_S = 20.0, 1.0  # how long a request waits for a disk that is full, and between two attempts
WAIT_S = 5.0  # of the service's end for those that wait
LOOK_S = 0.05  # between two looks at an empty queue: to be woken by `put` would cost the request its processor
HOUR_S, DAY_S = 3600.0, 86400.0  # between two looks at what is too old, and at sounds without a row
TELL_S = 60.0  # between two warnings
REASONS = ("queue", "disk", "error", "stopped")


class Writer:
    """Logs in its own thread, and deletes what is older than `days` or larger than `most_bytes`."""

    def __init__(self, log: RequestLog, days: float, most_bytes: float, most_waiting_bytes: int = MOST_WAITING_BYTES):
        self._request_log, self._days, self._most_bytes = log, days, most_bytes
        self._most_waiting_bytes = most_waiting_bytes
        self._queue: deque[tuple[Heard | Shadowed, int]] = deque()
        # The thread takes no lock that `put` needs: it may lose the processor at any moment, and requests would wait.
        self._put_lock = threading.Lock()  # of the two below
        self._put = self._put_bytes = 0
        self._done = self._done_bytes = self.logged = 0  # changed by the thread alone
        self._drop_lock = threading.Lock()  # of the two below
        self.dropped: Counter[str] = Counter({reason: 0 for reason in REASONS})
        self._told_s = float("-inf")
        self._closes, self._ends = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._put - self._done

    def put(self, heard: Heard | Shadowed) -> None:
        """Returns at once; what is put first is logged first. While the queue is full, it is dropped and counted."""
        sound = heard.samples.nbytes if heard.samples is not None else 0
        size = ROW_BYTES + WORD_BYTES * len(heard.hypothesis.words) + sound
        if self._closes.is_set():
            self._drop("stopped", "the service ends")
            return
        with self._put_lock:
            waiting_bytes = self._put_bytes - self._done_bytes
            has_room = not self.waiting or waiting_bytes + size <= self._most_waiting_bytes
            if has_room:
                self._put += 1
                self._put_bytes += size
        if has_room:
            self._queue.append((heard, size))
        else:
            self._drop("queue", "too many others wait")

    def close(self, wait_s: float | None = None) -> None:
        """Logs what waits, as far as that is soon done; the rest is counted as dropped."""
        self._closes.set()
        self._thread.join(WAIT_S if wait_s is None else wait_s)
        self._ends.set()
        self._thread.join(2 * RETRY_S)
        if self.waiting:
            self._drop("stopped", "the service ended before", self.waiting)
        self._request_log.close()

    def _work(self) -> None:
        tidied_s = swept_s = float("-inf")
        while not self._ends.is_set():
            now_s = time.monotonic()
            if now_s - tidied_s > HOUR_S:
                sweeps = now_s - swept_s > DAY_S
                self._tidy(sweeps)
                tidied_s, swept_s = now_s, now_s if sweeps else swept_s
            closes = self._closes.is_set()  # asked first: nothing is put after it
            if self._queue:
                self._log_one(*self._queue.popleft())
            elif closes:
                return
            else:
                self._closes.wait(LOOK_S)

    def _log_one(self, heard: Heard | Shadowed, size: int) -> None:
        reason = self._tried(heard)
        if self._ends.is_set():  # `close` has counted it
            return
        if reason:
            self._drop(*reason)
        elif isinstance(heard, Heard):
            self.logged += 1
        self._done_bytes += size
        self._done += 1

    def _tried(self, heard: Heard | Shadowed) -> tuple[str, str] | None:
        """Logs a request; why it cannot be."""
        until_s = time.monotonic() + KEEP_S
        while True:
            try:
                if isinstance(heard, Shadowed):
                    self._request_log.add_shadow(heard)
                else:
                    self._request_log.add(heard)
                return None
            except (OSError, DatabaseFailed) as e:
                if time.monotonic() > until_s or self._ends.wait(RETRY_S):
                    return "disk", str(e)
            except Exception as e:  # the next request is not lost with this one
                _log.error("a request could not be logged:\n%s", places(e))
                return "error", type(e).__name__  # its message may hold a text

    def _drop(self, reason: str, why: str, number: int = 1) -> None:
        with self._drop_lock:
            self.dropped[reason] += number
            total, tells = self.dropped.total(), time.monotonic() - self._told_s > TELL_S
            if tells:
                self._told_s = time.monotonic()
        if tells:
            _log.warning("a request is not logged, %d so far: %s", total, why)

    def _tidy(self, sweeps: bool) -> None:
        try:
            if sweeps and (swept := self._request_log.sweep()):
                _log.info("%d sounds without a row are deleted from the log", swept)
            self._request_log.retain(time.time(), self._days, self._most_bytes)
        except (OSError, DatabaseFailed) as e:
            _log.warning("the log is not tidied up: %s", e)
        except Exception as e:
            _log.error("tidying up the log failed:\n%s", places(e))
