"""Voice activity in a stream of samples: how long ago the last speech was. A `Vad` hears one stream.

energy    the level against the noise and the speech of the last `MEMORY_S`, as asr.features.pauses measures pauses.
          It abstains, that is, it hears no speech, while the two are less than `LEAST_DB` apart.
silero    the net of Silero (extra `vad`), run by onnxruntime
"""

import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from asr.errors import InputError, missing
from asr.features.pauses import FLOOR, PEAK, QUIET, SILENCE_DB, STEP_S

MEMORY_S = 10.0
LEAST_DB = 12.0
BLOCK = 10  # steps whose level is judged together
BURST = 3  # fewer steps of sound in a block are a click
LIKELY, UNLIKELY = 0.5, 0.35  # Silero's thresholds for the beginning and the end of speech


class Vad(Protocol):
    silence_s: float  # since the last speech, or since the beginning

    def accept(self, samples: np.ndarray) -> None:
        """The next samples (T,), of any number."""
        ...


class EnergyVad:
    def __init__(self, sample_rate_hz: int):
        self.silence_s = 0.0
        self._step = round(STEP_S * sample_rate_hz)
        self._rest = np.zeros(0, np.float32)
        self._levels: deque[float] = deque(maxlen=round(MEMORY_S / STEP_S))  # dB, digital silence left out

    def accept(self, samples: np.ndarray) -> None:
        rest, block = np.concatenate([self._rest, samples]), BLOCK * self._step
        for start in range(0, len(rest) - block + 1, block):
            self._judge(rest[start : start + block])
        self._rest = rest[len(rest) - len(rest) % block :].copy()

    def _judge(self, block: np.ndarray) -> None:
        power = block.reshape(BLOCK, self._step).var(1, dtype=np.float64)  # (BLOCK,), without a constant offset
        level = 10 * np.log10(power + 10 ** (SILENCE_DB / 10))
        self._levels.extend(level[level > SILENCE_DB + 1])
        loud = np.zeros(0, np.int64)
        if self._levels:
            noise, speech = np.percentile(self._levels, (FLOOR, PEAK))
            if speech - noise >= LEAST_DB:
                loud = np.flatnonzero(level > noise + QUIET * (speech - noise))
        if len(loud) >= BURST:
            self.silence_s = (BLOCK - 1 - int(loud[-1])) * STEP_S
        else:
            self.silence_s += BLOCK * STEP_S


class SileroVad:
    """Windows of 32 ms at 16 kHz, each with the last 4 ms before it."""

    RATE_HZ, WINDOW, CONTEXT = 16000, 512, 64

    def __init__(self, sample_rate_hz: int):
        self.silence_s = 0.0
        self._session = _silero()
        self._state = np.zeros((2, 1, 128), np.float32)
        self._rest = np.zeros(self.CONTEXT, np.float32)  # context and window
        self._is_speech = False
        needs_rate = sample_rate_hz != self.RATE_HZ
        self._resampler = soxr.ResampleStream(sample_rate_hz, self.RATE_HZ, 1, dtype="float32") if needs_rate else None

    def accept(self, samples: np.ndarray) -> None:
        x = self._resampler.resample_chunk(samples) if self._resampler else samples
        self._rest = np.concatenate([self._rest, x])
        while len(self._rest) >= self.CONTEXT + self.WINDOW:
            self._judge(self._rest[: self.CONTEXT + self.WINDOW])
            self._rest = self._rest[self.WINDOW :]

    def _judge(self, window: np.ndarray) -> None:
        rate = np.array(self.RATE_HZ, np.int64)
        speech, self._state = self._session.run(None, {"input": window[None], "state": self._state, "sr": rate})
        self._is_speech = float(speech[0, 0]) >= (UNLIKELY if self._is_speech else LIKELY)
        self.silence_s = 0.0 if self._is_speech else self.silence_s + self.WINDOW / self.RATE_HZ


class NoVad:
    """Hears no speech, so that the net alone decides."""

    silence_s = math.inf

    def __init__(self, sample_rate_hz: int):
        pass

    def accept(self, samples: np.ndarray) -> None:
        pass


VADS: dict[str, Callable[[int], Vad]] = {"net": NoVad, "energy": EnergyVad, "silero": SileroVad}


@lru_cache(1)
def _silero() -> Any:
    """The session of Silero's net, whose package is not imported: it would import torchaudio."""
    package = find_spec("silero_vad")
    if package is None or package.origin is None or find_spec("onnxruntime") is None:
        raise InputError(missing("vad", "endpoint.vad=silero", "silero-vad and onnxruntime"))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    path = Path(package.origin).parent / "data" / "silero_vad.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
