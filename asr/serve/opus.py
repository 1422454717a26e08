"""Opus in Ogg or WebM as a stream: bytes in, samples out, decoded by PyAV in a jailed process of its own.

FFmpeg parses what strangers send, so it runs where a crash or an endless loop costs one stream only.
"""

from collections.abc import Iterator

import numpy as np

from asr.errors import InputError, missing
from asr.features.media import has_pyav
from asr.serve import sound
from asr.serve.opus_process import FRAME, RATE_HZ

PATIENCE_S = 20.0  # a block is decoded in milliseconds
MEMORY_BYTES, CPU_S = 256 << 20, 3600  # limits of the process, beyond what it starts with
SLICE_BYTES = 1 << 15  # sent at a time: the process reads a frame before it answers
MOST_BYTES = 1 << 20  # of the samples that come at a time


class OpusDecoder:
    """The process of one stream. See asr.serve.encodings.Decoder."""

    rate_hz = RATE_HZ

    def __init__(self) -> None:
        """Raises InputError if PyAV is not installed, and Refused(503) if no process can be started."""
        if not has_pyav():
            raise InputError(f"{missing('media', 'encoding=opus', 'PyAV on the server')}; or send pcm_s16le")
        self._channel = sound.opened_stream(MEMORY_BYTES, CPU_S)
        self._channel.settimeout(PATIENCE_S)

    def decode(self, data: bytes) -> Iterator[np.ndarray]:
        for first in range(0, len(data), SLICE_BYTES):
            yield from self._exchange(data[first : first + SLICE_BYTES])

    def finish(self) -> Iterator[np.ndarray]:
        yield from self._exchange(b"")

    def close(self) -> None:
        """The process ends with its channel."""
        self._channel.close()

    def _exchange(self, data: bytes) -> Iterator[np.ndarray]:
        try:
            self._channel.sendall(FRAME.pack(len(data)) + data)
            for content in sound.answered(self._channel, MOST_BYTES):
                yield sound.checked(content)
        except (OSError, EOFError, sound.Failed) as e:
            self.close()
            raise InputError("the Opus stream could not be decoded: its decoder stopped; start a new stream") from e
