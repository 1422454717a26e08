"""Opus in Ogg or WebM, decoded as it arrives: what a jailed child of asr.serve.sound_process does for a live stream.

The child reads frames from its channel: a length (uint32), then so many bytes of the stream; length 0 is its end. It
answers each with records of samples, and `D` when it needs more bytes.
"""

import os
import struct
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from asr.errors import InputError
from asr.features.mixing import Mixer

RATE_HZ = 48000  # Opus always decodes to it
BLOCK_SAMPLES = 24000
FRAME = struct.Struct("<I")
FORMATS = {b"OggS": "ogg", b"\x1a\x45\xdf\xa3": "matroska"}
# Streams announce themselves in their header, so FFmpeg need not wait for sound to know the codec.
OPTIONS = {"probesize": "32", "analyzeduration": "0", "fflags": "nobuffer"}
GAP_S = 0.1
MOST_GAP_S = 60.0
BACK_S = 1.0


class Answer(Protocol):
    def __call__(self, kind: bytes, content: bytes) -> None: ...


class Exchange:
    """For FFmpeg it is a file, which asks the service for more bytes whenever it is empty."""

    def __init__(self, channel: int, answer: Answer):
        self.channel, self.answer = channel, answer
        self.rest, self.ended = b"", False
        self.samples: list[np.ndarray] = []  # decoded and not sent yet

    def read(self, size: int) -> bytes:
        if not self.rest:
            self.receive()
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def receive(self) -> None:
        """Sends what is decoded, asks, and waits for bytes; there are none after the end of the stream."""
        if not self.ended:
            self.send_samples()
            self.answer(b"D", b"")
            self.await_bytes()

    def await_bytes(self) -> None:
        (size,) = FRAME.unpack(self._exactly(FRAME.size) or bytes(FRAME.size))
        self.rest += self._exactly(size)
        self.ended = size == 0

    def put(self, samples: np.ndarray) -> None:
        self.samples.append(samples)
        if sum(map(len, self.samples)) >= BLOCK_SAMPLES:
            self.send_samples()

    def send_samples(self) -> None:
        if any(map(len, self.samples)):
            samples = np.clip(np.concatenate(self.samples), -1.0, 1.0)  # a codec may overshoot
            self.answer(b"S", samples.astype("<f4").tobytes())
        self.samples = []

    def _exactly(self, size: int) -> bytes:
        """b"" if the service has gone."""
        content = b""
        while len(content) < size:
            part = os.read(self.channel, size - len(content))
            if not part:
                return b""
            content += part
        return content


def decode(channel: int, answer: Answer) -> None:
    """Sends the samples of the stream. Raises InputError if it is not Opus in Ogg or WebM, or damaged."""
    import av

    exchange = Exchange(channel, answer)
    exchange.await_bytes()
    while len(exchange.rest) < 4 and not exchange.ended:
        exchange.receive()
    format = FORMATS.get(exchange.rest[:4])
    if format is None:
        raise InputError("the sound is neither an Ogg nor a WebM stream; encoding=opus takes these two")
    try:
        with av.open(exchange, format=format, options=OPTIONS, buffer_size=4096) as container:
            stream = container.streams[0] if len(container.streams) == 1 else None
            if stream is None or stream.type != "audio" or stream.codec_context.name not in ("opus", "libopus"):
                found = ", ".join(f"{s.type} ({s.codec_context.name})" for s in container.streams) or "nothing"
                raise InputError(f"the stream holds {found}; encoding=opus takes one track of Opus")
            for samples in decoded(container):
                exchange.put(samples)
    except (av.FFmpegError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        why = getattr(e, "strerror", None) or e
        raise InputError(f"the Opus stream is damaged ({why}); record or send it again") from e
    exchange.send_samples()


def decoded(container: Any) -> Iterator[np.ndarray]:
    """Blocks (n,) of the sound, with silence for the packets that are missing."""
    channels = container.streams[0].codec_context.layout.nb_channels
    mixer, clock, checked = Mixer("the Opus stream", channels), Clock(), 0
    for packet in container.demux():
        if packet.stream.index:
            raise InputError("a second track begins in the Opus stream; start a new stream for it")
        for frame in packet.decode():
            if frame.layout.nb_channels != channels or frame.sample_rate != RATE_HZ:
                raise InputError("the Opus stream changes its channels on the way; start a new stream for them")
            if frame.time is not None:
                missing = round(clock.missing_s(frame.time, frame.samples / RATE_HZ) * RATE_HZ)
                for first in range(0, missing, BLOCK_SAMPLES):
                    yield np.zeros(min(missing - first, BLOCK_SAMPLES), np.float32)
            yield mixer.mix(frame.to_ndarray().T)  # (n,)
        if mixer.frames >= checked + RATE_HZ:
            checked = mixer.frames
            mixer.check()


class Clock:
    """The time stamps of a stream against its samples.

    Browsers take the stamps from the clock of the system, which is late now and then, and runs at another rate than the
    clock of the samples. So silence is added only when the stamps are ahead by more than `GAP_S`.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0  # of the samples
        self.end_s: float | None = None  # of the latest packet, by its stamp

    def missing_s(self, begin_s: float, duration_s: float) -> float:
        """Seconds of silence before the next packet. Raises InputError for stamps that make no sense."""
        if self.end_s is not None:
            step_s = begin_s - self.end_s
            if not -BACK_S <= step_s <= MOST_GAP_S:
                raise InputError(
                    f"the time stamps of the Opus stream jump from {self.end_s:.2f} s to {begin_s:.2f} s; at most "
                    f"{MOST_GAP_S:g} s may be missing, so start a new stream after a longer pause"
                )
            self.ahead_s = max(self.ahead_s + step_s, -GAP_S)
        self.end_s = begin_s + duration_s
        if self.ahead_s <= GAP_S:
            return 0.0
        missing_s, self.ahead_s = self.ahead_s, 0.0
        return missing_s
