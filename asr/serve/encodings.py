"""Sound as it arrives on a socket: bytes cut anywhere -> blocks of samples.

A sample or packet may be cut between two messages; the decoder keeps its first part. No block is longer than `BLOCK_S`,
so that one large message does not occupy a worker thread for long.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from asr.errors import InputError, nearest
from asr.features.sound import RATES_HZ
from asr.serve.opus import OpusDecoder

BLOCK_S = 0.5
LOUDEST = 16.0  # float samples may exceed 1 slightly; above this they are unscaled integers
TELEPHONE_HZ = 8000


class Decoder(Protocol):
    rate_hz: int

    def decode(self, data: bytes) -> Iterator[np.ndarray]:
        """Blocks (n,) of float32 in [-1, 1] or int16. Raises InputError for damaged sound."""
        ...

    def finish(self) -> Iterator[np.ndarray]:
        """The last blocks. Raises InputError if the sound ends within a sample."""
        ...

    def close(self) -> None: ...


class PcmDecoder:
    """Samples of a fixed size: a numpy type, or a table (256,) of the values of one byte."""

    def __init__(self, rate_hz: int, kind: str = "<i2", table: np.ndarray | None = None):
        self.rate_hz, self.kind, self.table = rate_hz, np.dtype(kind), table
        self.rest = b""
        self.count = 0  # samples so far

    def decode(self, data: bytes) -> Iterator[np.ndarray]:
        data = self.rest + data
        whole = len(data) - len(data) % self.kind.itemsize
        self.rest = data[whole:]
        samples = np.frombuffer(data[:whole], self.kind)
        size = max(1, round(BLOCK_S * self.rate_hz))
        for first in range(0, len(samples), size):
            block = samples[first : first + size]
            if self.table is not None:
                block = self.table[block]
            elif self.kind.kind == "f":
                block = self._checked(block.astype(np.float32))
            yield block
            self.count += len(block)

    def _checked(self, block: np.ndarray) -> np.ndarray:
        bad = np.flatnonzero(~(np.abs(block) <= LOUDEST))  # NaN is not at most LOUDEST
        if len(bad):
            raise InputError(
                f"sample {self.count + bad[0]} of the sound is {block[bad[0]]:g}; pcm_f32le takes numbers in [-1, 1]"
            )
        return np.clip(block, -1.0, 1.0)

    def finish(self) -> Iterator[np.ndarray]:
        if self.rest:
            raise InputError(
                f"the sound ends within a sample: {len(self.rest)} of {self.kind.itemsize} bytes; "
                "a byte was lost on the way, or the encoding is another one"
            )
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


def mulaw_table() -> np.ndarray:
    """The int16 value of each byte of G.711 mu-law."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    value = ((mantissa << 3) + 132 << exponent) - 132
    return np.where(code & 128, -value, value).astype(np.int16)


def alaw_table() -> np.ndarray:
    """The int16 value of each byte of G.711 A-law."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    value = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0))
    return np.where(code & 128, value, -value).astype(np.int16)


ENCODINGS = ("pcm_s16le", "pcm_f32le", "mulaw", "alaw", "opus")
_TABLES = {"mulaw": mulaw_table(), "alaw": alaw_table()}


def open_decoder(encoding: object, rate_hz: object) -> Decoder:
    """The decoder of an encoding. `rate_hz` None: 16000, or 8000 for mulaw and alaw; Opus states its own.

    Raises InputError for an unknown encoding, for a rate out of range, and for Opus without PyAV.
    """
    if encoding not in ENCODINGS:
        near = nearest(encoding, ENCODINGS) if isinstance(encoding, str) else ""
        raise InputError(f"encoding={encoding!r:.60} is unknown{near}; expected one of {', '.join(ENCODINGS)}")
    if rate_hz is None:
        rate_hz = TELEPHONE_HZ if encoding in _TABLES else 16000
    low, high = RATES_HZ
    if not isinstance(rate_hz, int) or isinstance(rate_hz, bool) or not low <= rate_hz <= high:
        raise InputError(f"sample_rate_hz={rate_hz!r:.60} must be a whole number from {low} to {high}")
    if encoding == "opus":
        return OpusDecoder()
    if encoding in _TABLES:
        return PcmDecoder(rate_hz, "u1", _TABLES[str(encoding)])
    return PcmDecoder(rate_hz, "<f4" if encoding == "pcm_f32le" else "<i2")
