"""Sound from strangers -> samples, decoded in a process that has little to give away.

    samples = decode_untrusted(body, max_s=60.0, rate_hz=16000)  # (T,) float32 in [-1, 1]

A warm process (asr.serve.sound_process) forks a child for each recording. The child has limits on memory, CPU time and
files, makes hardly any system calls (asr.serve.jail), and has no part of another request in its memory. It sends raw
samples and sentences back; nothing that it sends is unpickled.
"""

import logging
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, cast

import numpy as np

from asr.errors import InputError
from asr.features.audio import SLACK_S
from asr.serve.errors import Refused
from asr.serve.sound_process import RECORD, REQUEST

_log = logging.getLogger(__name__)
PROGRAM = ["-m", "asr.serve.sound_process"]
MEMORY_BYTES = 512 << 20  # that a child may take beyond what it is forked with
LONGEST_SENTENCE = 4096  # bytes
BLOCK_BYTES = 1 << 20
SEND_S = 5.0  # a process that has not taken a request after this time is replaced
ATTEMPTS = 2  # processes that may end while they decode a recording, which may be what ends them
CRASHED = "the audio is damaged in a way that broke its decoder; convert it again to wav or flac"


def decode_untrusted(data: bytes | Path, max_s: float, rate_hz: int) -> np.ndarray:
    """Decode a recording whose bytes may be hostile -> (T,) float32 mono samples in [-1, 1] at `rate_hz`.

    Called from any thread. Raises InputError, in one sentence, if it is not audio, damaged, longer than `max_s`, or if
    decoding it takes too much time or memory; Refused(503) if no process can be started, or if `ATTEMPTS` processes
    were killed while they decoded it.
    """
    return _decoder().decode(data, max_s, rate_hz)


def start() -> None:
    """Starts the process that decodes, so that the first request finds it warm."""
    _decoder().start()


def opened_stream(memory_bytes: int, cpu_s: int) -> socket.socket:
    """A channel to a process for one live stream of Opus (asr.serve.opus_process), which ends when it is closed.

    Raises Refused(503) if no process can be started.
    """
    return _decoder().open_stream(memory_bytes, cpu_s)


@cache
def _decoder() -> "Decoder":
    return Decoder(len(os.sched_getaffinity(0)))


class Decoder:
    """Decodes at most `most` recordings at a time; more wait. The process is started again if it was killed."""

    def __init__(self, most: int, memory_bytes: int = MEMORY_BYTES):
        self.memory_bytes = memory_bytes
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()  # of the two below
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        with self._lock:
            self._started()

    def decode(
        self, data: bytes | Path, max_s: float, rate_hz: int, cpu_s: int | None = None, wall_s: float | None = None
    ) -> np.ndarray:
        """As `decode_untrusted`. By default an hour of sound may take 70 s of CPU time, and six times as long.

        A process that is killed takes all that it is decoding with it, so each recording is then decoded once more.
        """
        cpu_s = cpu_s or 10 + math.ceil(max_s / 60)
        wall_s = wall_s or 6.0 * cpu_s
        request = REQUEST.pack(max_s, rate_hz, self.memory_bytes, cpu_s, wall_s)
        most = round((max_s + SLACK_S) * rate_hz) + 1
        with self._places, _opened(data) as file:
            for _ in range(ATTEMPTS):
                with suppress(EOFError):
                    return self._decoded(file, request, most, wall_s)
        raise Refused(503, "the process that decodes sound ended; repeat the request", 1.0)

    def _decoded(self, file: IO[bytes], request: bytes, most: int, wall_s: float) -> np.ndarray:
        """One attempt. Raises EOFError if the process ends before it has answered."""
        file.seek(0)
        own, theirs = socket.socketpair()
        with own:
            with theirs:
                self._send(request, theirs.fileno(), file.fileno())
            own.settimeout(wall_s + 5)
            try:
                return _receive(own, most, wall_s)
            except TimeoutError:  # the process that should have killed the child hangs
                self.close()
                raise InputError(_too_slow(wall_s)) from None

    def open_stream(self, memory_bytes: int, cpu_s: int) -> socket.socket:
        own, theirs = socket.socketpair()
        try:
            with theirs:
                self._send(REQUEST.pack(0, 0, memory_bytes, cpu_s, math.inf), theirs.fileno())
        except BaseException:
            own.close()
            raise
        return own

    def close(self) -> None:
        """Ends the process, and with it what it is decoding. The next call starts another one."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        """Needs the lock."""
        if self._control and self._process:
            self._control.close()
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._control = self._process = None

    def _send(self, request: bytes, *descriptors: int) -> None:
        with self._lock:
            for attempt in (1, 2):
                try:
                    socket.send_fds(self._started(), [request], descriptors)
                    return
                except OSError as e:  # the process was killed, or takes no more requests
                    self._stop()
                    if attempt == 2:
                        raise _not_started(e) from e

    def _started(self) -> socket.socket:
        """The socket of the process, which is started if it does not run. Needs the lock."""
        if self._control and self._process and self._process.poll() is None:
            return self._control
        if self._control:
            _log.error("the process that decodes sound ended; starting another")
            self._control.close()
        own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, *PROGRAM, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as e:
                own.close()
                self._control = None
                raise _not_started(e) from e
        own.settimeout(SEND_S)
        self._control = own
        return own


def _environment() -> dict[str, str]:
    """No secrets of this process; one thread, as a process of several cannot fork safely."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "LANG", "LC_ALL") if name in os.environ}
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _opened(data: bytes | Path) -> IO[bytes]:
    if isinstance(data, Path):
        try:
            return open(data, "rb")
        except OSError as e:
            raise InputError(f"cannot read the audio file {data}: {e.strerror}; check the path") from None
    # Some builds of Python lack memfd_create.
    in_memory = hasattr(os, "memfd_create")
    file = open(os.memfd_create("sound"), "w+b") if in_memory else cast(IO[bytes], tempfile.TemporaryFile())
    file.write(data)
    file.seek(0)
    return file


class Failed(Exception):
    """A process ended otherwise than with an answer: the kind of its last record, and what it told."""

    def __init__(self, kind: bytes, told: str):
        super().__init__(f"{kind!r} {told}")
        self.kind, self.told = kind, told


def answered(channel: socket.socket, most_bytes: int) -> Iterator[bytearray]:
    """The samples that come up to the end of an answer, each part of at most `most_bytes`.

    Nothing of what comes is trusted. Raises InputError with the sentence of the process, Failed, and EOFError if the
    channel ends before the last record of the process that forks.
    """
    while True:
        kind, size = RECORD.unpack(_exactly(channel, RECORD.size))
        if size > (most_bytes if kind == b"S" else LONGEST_SENTENCE):
            raise InputError(CRASHED)
        content = _exactly(channel, size)
        if kind == b"S":
            yield content
        elif kind == b"D":
            return
        else:
            told = "".join(c if c.isprintable() else " " for c in content.decode(errors="replace"))
            raise InputError(told) if kind == b"E" else Failed(kind, told)


def checked(content: bytearray) -> np.ndarray:
    """Raises InputError for what are no samples in [-1, 1]."""
    samples = np.frombuffer(content, "<f4") if len(content) % 4 == 0 else np.zeros(0, "<f4")
    if not len(samples) or not np.abs(samples).max() <= 1.0:  # NaN compares as false
        raise InputError(CRASHED)
    return samples.astype(np.float32, copy=False)


def _receive(channel: socket.socket, most: int, wall_s: float) -> np.ndarray:
    """The samples that come, at most `most`. Raises InputError if they do not, and EOFError as `answered`."""
    samples = bytearray()
    try:
        for content in answered(channel, 4 * most):
            samples += content
            if len(samples) > 4 * most:
                raise InputError(CRASHED)
    except Failed as e:
        raise _failure(e, wall_s) from None
    return checked(samples)


def _exactly(channel: socket.socket, size: int) -> bytearray:
    """The next `size` bytes. Raises EOFError if the channel ends before."""
    content = bytearray()
    while len(content) < size:
        part = channel.recv(min(size - len(content), BLOCK_BYTES))
        if not part:
            raise EOFError
        content += part
    return content


def _failure(failed: Failed, wall_s: float) -> InputError:
    told = failed.told
    if told == "time":
        return InputError(_too_slow(wall_s))
    if told in (str(-signal.SIGXCPU), str(-signal.SIGKILL)):
        return InputError("the audio takes too much time or memory to decode; convert it again to wav or flac")
    _log.error("decoding an upload failed: %s", told if failed.kind == b"B" else f"the child ended with status {told}")
    return InputError(CRASHED)


def _too_slow(wall_s: float) -> str:
    return f"the audio took more than {wall_s:g} s to decode; convert it again to wav or flac"


def _not_started(error: OSError) -> Refused:
    _log.error("cannot start the process that decodes sound: %s", error)
    return Refused(503, "sound cannot be decoded at the moment; repeat the request later", 5.0)
