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
GAP_S = 0.015  # a time stamp later than this is one of packets that are missing; WebM rounds to milliseconds
MOST_GAP_S = 60.0
BACK_S = 1.0  # time stamps may jitter, but not go back


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
        if self.samples:
            self.answer(b"S", np.concatenate(self.samples).astype("<f4").tobytes())
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
    mixer = Mixer("the Opus stream", channels)
    checked, end_s = 0, None
    for packet in container.demux():
        if packet.stream.index:
            raise InputError("a second track begins in the Opus stream; start a new stream for it")
        for frame in packet.decode():
            if frame.layout.nb_channels != channels or frame.sample_rate != RATE_HZ:
                raise InputError("the Opus stream changes its channels on the way; start a new stream for them")
            begin_s = frame.time
            if begin_s is not None:
                if end_s is not None:
                    yield from silence(end_s, begin_s)
                end_s = begin_s + frame.samples / RATE_HZ
            yield mixer.mix(frame.to_ndarray().T)  # (n,)
        if mixer.frames >= checked + RATE_HZ:
            checked = mixer.frames
            mixer.check()


def silence(end_s: float, begin_s: float) -> Iterator[np.ndarray]:
    """Between two packets, by their time stamps. Raises InputError for stamps that make no sense."""
    gap_s = begin_s - end_s
    if gap_s < -BACK_S:
        raise InputError(
            f"the time stamps of the Opus stream go back from {end_s:.2f} s to {begin_s:.2f} s; start a new stream"
        )
    if gap_s > MOST_GAP_S:
        raise InputError(
            f"the Opus stream has no sound from {end_s:.2f} s to {begin_s:.2f} s; up to {MOST_GAP_S:g} s may be "
            "missing, so start a new stream after a longer pause"
        )
    left = round(gap_s * RATE_HZ) if gap_s > GAP_S else 0
    while left:
        yield np.zeros(min(left, BLOCK_SAMPLES), np.float32)
        left -= min(left, BLOCK_SAMPLES)
