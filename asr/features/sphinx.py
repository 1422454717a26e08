"""The Sphinx front end that made AN4's cepstra, so that audio can be added to them: 40 smoothed log-mel bands.

The parameters are those of AN4's README.
"""

import numpy as np

BANDS, CEPSTRA, LOW_HZ, HIGH_HZ = 40, 13, 130.0, 6800.0
FFT, WINDOW, SHIFT, RATE_HZ = 512, 410, 160, 16000


def mel_filters() -> np.ndarray:
    """Triangular filters of equal area over the power spectrum: (FFT / 2 + 1, BANDS)."""

    def mel(hz: float) -> float:
        return 2595 * np.log10(1 + hz / 700)

    edges = 700 * (10 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2) / 2595) - 1)
    hz = np.arange(FFT // 2 + 1)[:, None] * RATE_HZ / FFT
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (hz - low) / (centre - low), (high - hz) / (high - centre)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)


FILTERS = mel_filters()


def log_mels(samples: np.ndarray) -> np.ndarray:
    """Samples (T,) in [-1, 1] at 16 kHz -> natural-log mel energies (F, BANDS) on the scale of 16-bit samples."""
    emphasised = 32768 * np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, WINDOW)[::SHIFT] * np.hamming(WINDOW)
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    return np.log(np.maximum(power @ FILTERS, 1.0))


COSINES = np.cos(np.pi * np.arange(CEPSTRA)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)  # orthogonal rows
COSINES /= np.linalg.norm(COSINES, axis=1, keepdims=True)


def cepstra(mels: np.ndarray) -> np.ndarray:
    """Log-mel bands (F, BANDS) -> their 13 cepstra, of an orthonormal transform."""
    return mels @ COSINES.T


def smooth(mels: np.ndarray) -> np.ndarray:
    """Log-mel bands (F, BANDS) reduced to what their 13 cepstra keep."""
    return cepstra(mels) @ COSINES
