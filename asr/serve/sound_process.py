"""The process that decodes what strangers send, in a jailed child for each recording or live stream of Opus.

    python -m asr.serve.sound_process FD

FD is a socket of asr.serve.sound. A message on it is a `REQUEST` with a channel for the answer and, unless the sound
comes through the channel (asr.serve.opus_process), the recording. The child writes records to the channel (`RECORD`,
then that many bytes):

    S  float32 samples, in any number of records
    D  the recording, or what has come of the stream, is decoded
    E  it cannot be decoded: one sentence
    B  a fault of ours: the exception and its place, for the log

This process itself reads no recording, so that it can be trusted. It adds one last record to each channel:

    X  how the child ended: its wait status as text, or `time` if it was killed after `wall_s` seconds

A child is used once: whatever a hostile recording does to it ends with it. One child is always forked ahead, and has
touched the memory that decoding writes to, so that a request does not wait for that. A child whose channel was closed
by the service is killed.
"""

import gc
import math
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
import soundfile

from asr.errors import InputError
from asr.features import audio
from asr.features.media import Media, has_pyav
from asr.serve import jail, opus_process

REQUEST = struct.Struct("<dIQId")  # max_s, rate_hz, memory_bytes, cpu_s, wall_s; of a stream, the last three
RECORD = struct.Struct("<cI")
IN_MEMORY = "audio given in memory"  # the name of the recording in sentences of asr.features.audio
WAV = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 356, b"WAVEfmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 320) + bytes(
    320
)


@dataclass
class _Child:
    pid: int
    desk: socket.socket  # where it waits for its request
    channel: socket.socket | None = None
    deadline_s: float = math.inf
    is_left: bool = False  # its channel was closed

    def give(self, message: bytes, channel: int, *recording: int) -> None:
        """Passes a request on to the child, which closes neither descriptor before it has answered."""
        self.channel = socket.socket(fileno=channel)
        self.deadline_s = time.monotonic() + REQUEST.unpack(message)[-1]
        with self.desk:
            socket.send_fds(self.desk, [message], [channel, *recording])
        for descriptor in recording:
            os.close(descriptor)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    _warm_up()
    bell, ringer = socket.socketpair()  # wakes `select` when a child ends
    ringer.setblocking(False)
    signal.set_wakeup_fd(ringer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the service, which finishes its requests first
        signal.signal(number, signal.SIG_IGN)
    children: dict[int, _Child] = {}
    spare: _Child | None = None
    while True:
        if spare is None or spare.pid not in children:
            spare = _fork()
            children[spare.pid] = spare
        ready = _awaited(control, bell, children)
        if bell.fileno() in ready:
            bell.recv(4096)
        _reap(children)
        if control.fileno() in ready and spare.pid in children:
            message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 2)
            if not message:  # the service has ended
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # would ring the bell, which ends with this function
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return
            spare.give(message, *descriptors)
            spare = None


def _awaited(control: socket.socket, bell: socket.socket, children: dict[int, _Child]) -> set[int]:
    """The descriptors that have something to read, once there are some or a child is late.

    Children whose channel was closed at the other end are killed.
    """
    poll = select.poll()
    for each in (control, bell):
        poll.register(each, select.POLLIN)
    busy = {child.channel.fileno(): child for child in children.values() if child.channel and not child.is_left}
    for descriptor in busy:
        poll.register(descriptor, 0)  # that it was closed is always told
    nearest_s = min(child.deadline_s for child in children.values())
    wait_s = None if math.isinf(nearest_s) else max(0.0, nearest_s - time.monotonic())
    ready = {descriptor for descriptor, _ in poll.poll(None if wait_s is None else math.ceil(1000 * wait_s))}
    for descriptor in ready & busy.keys():
        busy[descriptor].is_left = True
        os.kill(busy[descriptor].pid, signal.SIGKILL)
    return ready


def _warm_up() -> None:
    """Loads what decoding needs, as the jail opens no files. The children share this memory."""
    for format, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")):
        file = BytesIO()
        soundfile.write(file, np.zeros(4800, np.float32), 48000, format=format, subtype=subtype)
        _touch(file.getvalue())
    if has_pyav():
        list(Media(IN_MEMORY, BytesIO(WAV), "wav").decode(0, 160, 160))
    gc.collect()
    gc.freeze()


def _touch(recording: bytes) -> None:
    for _ in audio.resampled_blocks(recording, 8000):
        pass


def _fork() -> _Child:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if pid := os.fork():
        theirs.close()
        return _Child(pid, ours)
    try:
        _be_child(theirs)
    finally:
        os._exit(1)


def _reap(children: dict[int, _Child]) -> None:
    """Kills children that are late, and says on the channel of each one that has ended how it did."""
    late = [pid for pid, child in children.items() if time.monotonic() >= child.deadline_s]
    for pid in late:
        os.kill(pid, signal.SIGKILL)
    while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | (0 if late else os.WNOHANG)):
        pid = ended.si_pid
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it may have started
        _, status = os.waitpid(pid, 0)
        word = b"time" if pid in late else b"%d" % os.waitstatus_to_exitcode(status)
        late = [other for other in late if other != pid]
        child = children.pop(pid)
        child.desk.close()
        if child.channel:
            with child.channel, suppress(OSError):  # the service may have what it needs, and have closed its end
                child.channel.send(RECORD.pack(b"X", len(word)) + word, socket.MSG_DONTWAIT)


def _be_child(desk: socket.socket) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)  # decoders write warnings there, without limit
    os.closerange(3, desk.fileno())  # those of other requests
    os.closerange(desk.fileno() + 1, 1 << 20)
    _touch(WAV)
    message, descriptors, _, _ = socket.recv_fds(desk, REQUEST.size, 2)
    if message:
        max_s, rate_hz, memory_bytes, cpu_s, _ = REQUEST.unpack(message)
        jail.enter(memory_bytes, cpu_s)
        if len(descriptors) == 1:
            _answer(descriptors[0], opus_process.decode)
        else:
            _decode(descriptors[0], descriptors[1], max_s, rate_hz)
    os._exit(0)


def _decode(channel: int, recording: int, max_s: float, rate_hz: int) -> None:
    def decode(channel: int, answer: opus_process.Answer) -> None:
        with os.fdopen(recording, "rb") as file:
            for block in audio.resampled_blocks(file, rate_hz, max_s):
                answer(b"S", np.ascontiguousarray(block, "<f4").tobytes())

    _answer(channel, decode)


def _answer(channel: int, decode: Callable[[int, opus_process.Answer], None]) -> None:
    """What `decode` answers on the channel, and how it ended."""
    try:
        decode(channel, partial(_send, channel))
        _send(channel, b"D", b"")
    except InputError as e:
        _send(channel, b"E", str(e).replace(IN_MEMORY, "the audio").encode(errors="replace"))
    except MemoryError:
        _send(channel, b"E", b"the audio needs too much memory to decode; convert it again to wav or flac")
    except Exception as e:
        place = traceback.extract_tb(e.__traceback__)[-1]
        _send(channel, b"B", f"{type(e).__name__} at {place.filename}:{place.lineno}".encode(errors="replace"))


def _send(channel: int, kind: bytes, content: bytes) -> None:
    view = memoryview(RECORD.pack(kind, len(content)) + content)
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main()
