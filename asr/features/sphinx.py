"""The front end behind AN4's cepstra, as its README gives it, so that sound can join them: 40 smooth log-mel bands."""

import numpy as np

BANDS, CEPSTRA, LOW_HZ, HIGH_HZ = 40, 13, 130.0, 6800.0
FFT, WINDOW, SHIFT, RATE_HZ = 512, 410, 160, 16000


def mel_filters() -> np.ndarray:
    """Triangles of equal area over the bins of the power spectrum: (FFT / 2 + 1, BANDS)."""

    def mel(hz: float) -> float:
        return 2595 * np.log10(1 + hz / 700)

    edges = 700 * (10 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2) / 2595) - 1)
    hz = np.arange(FFT // 2 + 1)[:, None] * RATE_HZ / FFT
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (hz - low) / (centre - low), (high - hz) / (high - centre)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)


FILTERS = mel_filters()


def log_mels(samples: np.ndarray) -> np.ndarray:
    """Samples (T,) of [-1, 1] at 16 kHz -> natural log-mel bands (F, BANDS) of 16-bit samples."""
    emphasised = 32768 * np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, WINDOW)[::SHIFT] * np.hamming(WINDOW)
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    return np.log(np.maximum(power @ FILTERS, 1.0))


def smooth(mels: np.ndarray) -> np.ndarray:
    """Log-mel bands (F, BANDS) as 13 cosines keep them."""
    cosines = np.cos(np.pi * np.arange(CEPSTRA)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)  # orthogonal rows
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    return mels @ cosines.T @ cosines


def another_room(mels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-mel bands (F, BANDS) with a drawn microphone's curve, and noise 12 to 40 dB below the speech."""
    bands = np.arange(BANDS)
    curve = sum(rng.normal(0, 0.7 / k) * np.cos(np.pi * k * (bands + 0.5) / BANDS) for k in (1, 2, 3))
    noise = np.exp(-rng.uniform(0, 3) * bands / BANDS)
    noise *= np.exp(mels).sum(1).mean() / noise.sum() * 10 ** (-rng.uniform(12, 40) / 10)
    return np.logaddexp(mels + curve, np.log(noise * rng.gamma(4, 1 / 4, mels.shape)))
