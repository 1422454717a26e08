"""Filtering in the frequency domain, and levels."""

from collections.abc import Callable

import numpy as np

SETTLE_S = 0.1  # of zeros behind the samples, into which the ends of the filters fall


def fft_size(samples: int) -> int:
    """The smallest power of two that holds so many samples."""
    return 1 << max(1, samples - 1).bit_length()


def rms(x: np.ndarray) -> float:
    """The root mean square of samples (T,); 0 without any."""
    return float(np.sqrt(np.mean(np.square(x), dtype=np.float64))) if len(x) else 0.0


def at_level(x: np.ndarray, level: float) -> np.ndarray:
    """Samples (T,) scaled to the RMS `level`; silence stays silence."""
    found = rms(x)
    return (x * (level / found)).astype(np.float32) if found else np.zeros(len(x), np.float32)


def filtered(x: np.ndarray, rate_hz: float, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Samples (T,) through a filter: `gain` gives its factors (F,) for frequencies (F,) in Hz. Real factors delay
    nothing."""
    size = fft_size(len(x) + round(SETTLE_S * rate_hz))
    spectrum = np.fft.rfft(x, size) * gain(np.fft.rfftfreq(size, 1 / rate_hz))
    return np.fft.irfft(spectrum, size)[: len(x)].astype(np.float32)
