"""Voice activity in a stream of samples: how long ago the last speech was, and how much there was. A `Vad` hears one
stream.

energy    the level against the noise and the speech of the last `MEMORY_S`, as asr.features.pauses measures pauses,
          without the lowest frequencies, whose level varies. It abstains while the two, or the loud and the soft
          moments of the last `STEADY_S`, are less than `LEAST_DB` apart: it hears no speech then, but what is
          `LEAST_DB` above those soft moments, or not as much below the speech that it heard last, may be speech.
silero    the net of Silero (extra `vad`), run by onnxruntime
"""

import math
from bisect import bisect_left, insort
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
STEADY_S = 2.0
LEAST_DB = 12.0
PARTS = 4  # of a step; each has its mean subtracted
BLOCK = 10  # steps whose level is judged together
BURST = 3  # fewer steps of sound in a block are a click
LIKELY, UNLIKELY = 0.5, 0.35  # Silero's thresholds for the beginning and the end of speech


class Vad(Protocol):
    silence_s: float  # since the last speech, or since the beginning
    speech_s: float  # of all sound so far, what is or may be speech

    def accept(self, samples: np.ndarray) -> None:
        """The next samples (T,), of any number."""
        ...


class EnergyVad:
    def __init__(self, sample_rate_hz: int):
        self.silence_s, self.speech_s = 0.0, 0.0
        self._softest = SILENCE_DB + 1  # dB; what is below that of the last speech is none
        self._step = round(STEP_S * sample_rate_hz)
        self._rest = np.zeros(0, np.float32)
        self._levels = _Latest(round(MEMORY_S / STEP_S))  # dB, digital silence left out
        self._recent = _Latest(round(STEADY_S / STEP_S))

    def accept(self, samples: np.ndarray) -> None:
        rest, block = np.concatenate([self._rest, samples]), BLOCK * self._step
        for start in range(0, len(rest) - block + 1, block):
            self._judge(rest[start : start + block])
        self._rest = rest[len(rest) - len(rest) % block :].copy()

    def _judge(self, block: np.ndarray) -> None:
        parts = block.reshape(BLOCK, self._step)[:, : PARTS * (self._step // PARTS)].reshape(BLOCK, PARTS, -1)
        power = parts.var(2, dtype=np.float64).mean(1)  # (BLOCK,)
        level = 10 * np.log10(power + 10 ** (SILENCE_DB / 10))
        heard = level[level > SILENCE_DB + 1].tolist()
        self._levels.extend(heard)
        self._recent.extend(heard)
        noise, speech = self._levels.percentile(FLOOR), self._levels.percentile(PEAK)
        soft, high = self._recent.percentile(FLOOR), self._recent.percentile(PEAK)
        abstains = min(speech - noise, high - soft) < LEAST_DB
        limit = min(self._softest, soft + LEAST_DB) if abstains else noise + QUIET * (speech - noise)
        loud = np.flatnonzero(level > limit)
        if len(loud) >= BURST:
            self.speech_s += len(loud) * STEP_S
        if len(loud) >= BURST and not abstains:
            self._softest, self.silence_s = speech - LEAST_DB, (BLOCK - 1 - int(loud[-1])) * STEP_S
        else:
            self.silence_s += BLOCK * STEP_S


class _Latest:
    """The latest `most` numbers, kept in order: `np.percentile` would sort them again for each block of each stream."""

    def __init__(self, most: int):
        self.ordered: list[float] = []
        self._arrived: deque[float] = deque()
        self._most = most

    def extend(self, values: list[float]) -> None:
        for value in values:
            if len(self._arrived) == self._most:
                del self.ordered[bisect_left(self.ordered, self._arrived.popleft())]
            self._arrived.append(value)
            insort(self.ordered, value)

    def percentile(self, p: float) -> float:
        """As `np.percentile` gives it; the level of digital silence if there are no numbers."""
        if not self.ordered:
            return SILENCE_DB
        place = p / 100 * (len(self.ordered) - 1)
        low = int(place)
        high = min(low + 1, len(self.ordered) - 1)
        return self.ordered[low] + (place - low) * (self.ordered[high] - self.ordered[low])


class SileroVad:
    """Windows of 32 ms at 16 kHz, each with the last 4 ms before it."""

    RATE_HZ, WINDOW, CONTEXT = 16000, 512, 64

    def __init__(self, sample_rate_hz: int):
        self.silence_s, self.speech_s = 0.0, 0.0
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
        window_s = self.WINDOW / self.RATE_HZ
        self.speech_s += window_s if self._is_speech else 0.0
        self.silence_s = 0.0 if self._is_speech else self.silence_s + window_s


class NoVad:
    """Hears no speech, but any sound may be speech, so that the net alone decides."""

    silence_s = math.inf

    def __init__(self, sample_rate_hz: int):
        self.speech_s = 0.0
        self._rate_hz = sample_rate_hz

    def accept(self, samples: np.ndarray) -> None:
        self.speech_s += len(samples) / self._rate_hz


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
