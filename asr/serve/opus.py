"""Opus in Ogg or WebM as a stream: bytes in, samples out, decoded by PyAV in a separate limited process.

FFmpeg parses what strangers send, so it runs where a crash or an endless loop costs one stream only. The process is
this file, and the two talk over pipes in frames: a length (uint32), then so many bytes.

    to the process      bytes of the stream; length 0: the stream has ended
    from the process    float32 samples; length 0: more bytes are needed; ERROR: a frame with a sentence follows
"""

import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

import numpy as np

from asr.errors import InputError
from asr.features.media import has_pyav
from asr.features.mixing import Mixer
from asr.serve import jail
from asr.serve.sound_process import WAV

RATE_HZ = 48000  # Opus always decodes to it
BLOCK_SAMPLES = 24000
ERROR = 0xFFFFFFFF
PATIENCE_S = 20.0  # the process decodes a block in milliseconds
MEMORY_BYTES, CPU_S = 256 << 20, 3600  # limits of the process, beyond what it starts with
SLICE_BYTES = 1 << 15  # written at a time: a pipe holds 64 KiB, and the process reads a frame before it answers
FORMATS = {b"OggS": "ogg", b"\x1a\x45\xdf\xa3": "matroska"}
# Streams announce themselves in their header, so FFmpeg need not wait for sound to know the codec.
OPTIONS = {"probesize": "32", "analyzeduration": "0", "fflags": "nobuffer"}


class OpusDecoder:
    """The process of one stream. See asr.serve.encodings.Decoder."""

    rate_hz = RATE_HZ

    def __init__(self) -> None:
        """Raises InputError if PyAV is not installed."""
        if not has_pyav():
            raise InputError(
                "encoding=opus needs PyAV on the server: pip install 'asr-toolkit[media]'; or send pcm_s16le"
            )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asr.serve.opus"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def decode(self, data: bytes) -> Iterator[np.ndarray]:
        for first in range(0, len(data), SLICE_BYTES):
            yield from self._exchange(data[first : first + SLICE_BYTES])

    def finish(self) -> Iterator[np.ndarray]:
        yield from self._exchange(b"")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def _exchange(self, data: bytes) -> Iterator[np.ndarray]:
        try:
            os.write(self._pipe(self.process.stdin), struct.pack("<I", len(data)) + data)
            while size := struct.unpack("<I", self._read(4))[0]:
                if size == ERROR:
                    raise InputError(self._read(struct.unpack("<I", self._read(4))[0]).decode(errors="replace"))
                yield np.frombuffer(self._read(size), "<f4")
        except (OSError, EOFError, TimeoutError) as e:
            self.close()
            raise InputError("the Opus stream could not be decoded: its decoder stopped; start a new stream") from e

    def _read(self, size: int) -> bytes:
        pipe, data, until = self._pipe(self.process.stdout), b"", time.monotonic() + PATIENCE_S
        while len(data) < size:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(pipe, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> int:
        assert pipe is not None
        return pipe.fileno()


class Exchange:
    """The process's side. For FFmpeg it is a file, which asks the other side for more bytes whenever it is empty."""

    def __init__(self) -> None:
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
            self.send(b"")
            self.await_bytes()

    def await_bytes(self) -> None:
        (size,) = struct.unpack("<I", sys.stdin.buffer.read(4) or bytes(4))
        self.rest += sys.stdin.buffer.read(size)
        self.ended = size == 0

    def put(self, samples: np.ndarray) -> None:
        self.samples.append(samples)
        if sum(map(len, self.samples)) >= BLOCK_SAMPLES:
            self.send_samples()

    def send_samples(self) -> None:
        if self.samples:
            self.send(np.concatenate(self.samples).astype("<f4").tobytes())
            self.samples = []

    def send(self, data: bytes, mark: bytes = b"") -> None:
        sys.stdout.buffer.write(mark + struct.pack("<I", len(data)) + data)
        sys.stdout.buffer.flush()


def decode(exchange: Exchange) -> None:
    """Sends the samples of the stream. Raises InputError if it is not Opus in Ogg or WebM, or damaged."""
    import av

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
            decode_packets(container, exchange)
    except (av.FFmpegError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        why = getattr(e, "strerror", None) or e
        raise InputError(f"the Opus stream is damaged ({why}); record or send it again") from e


def decode_packets(container: Any, exchange: Exchange) -> None:
    channels = container.streams[0].codec_context.layout.nb_channels
    mixer = Mixer("the Opus stream", channels)
    checked = 0
    for packet in container.demux():
        if packet.stream.index:
            raise InputError("a second track begins in the Opus stream; start a new stream for it")
        for frame in packet.decode():
            if frame.layout.nb_channels != channels or frame.sample_rate != RATE_HZ:
                raise InputError("the Opus stream changes its channels on the way; start a new stream for them")
            exchange.put(mixer.mix(frame.to_ndarray().T))  # (n,)
        if mixer.frames >= checked + RATE_HZ:
            checked = mixer.frames
            mixer.check()


def warm_up() -> None:
    """Loads what PyAV loads when it is first used: afterwards, no file can be opened."""
    import av

    with av.open(BytesIO(WAV), format="wav") as container:
        for frame in container.decode(audio=0):
            frame.to_ndarray()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends its streams first
    warm_up()
    jail.enter(MEMORY_BYTES, CPU_S)
    exchange = Exchange()
    try:
        decode(exchange)
        exchange.send_samples()
        exchange.send(b"")
    except InputError as e:
        exchange.send(str(e).encode(), struct.pack("<I", ERROR))


if __name__ == "__main__":
    main()
