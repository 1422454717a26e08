"""What microphones and lines do to sound: their frequency response, clipping, and a telephone's band."""

from collections.abc import Sequence

import numpy as np

from asr.data.scenes.spectra import filtered

LOW_HZ = 100.0  # the drawn response is a smooth function of the logarithm of the frequency, constant below this one
WAVES = 4  # cosines that it is made of
EDGES = (4, 12)  # order of the Butterworth slopes at the lower and the upper edge of a band
EDGE = 0.2  # part of an edge's frequency by which it is drawn higher or lower


def another_microphone(x: np.ndarray, rate_hz: float, peak_db: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Samples (T,) through a smooth random frequency response, whose largest gain or loss is drawn from `peak_db`."""
    waves = np.arange(1, WAVES + 1)
    heights, most_db = rng.standard_normal(WAVES) / waves, rng.uniform(peak_db[0], peak_db[-1])

    def gain(hz: np.ndarray) -> np.ndarray:
        place = np.log(np.maximum(hz, LOW_HZ) / LOW_HZ) / np.log(max(2.0, hz[-1] / LOW_HZ))  # (F,) from 0 to 1
        curve = heights @ np.cos(np.pi * waves[:, None] * place)
        return 10 ** (curve / np.abs(curve).max() * most_db / 20)

    return filtered(x, rate_hz, gain)


def clip(x: np.ndarray, cut_db: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Samples (T,) limited to a level below their peak that is drawn from `cut_db`."""
    limit = float(np.abs(x).max()) * 10 ** (-rng.uniform(cut_db[0], cut_db[-1]) / 20)
    return x.clip(-limit, limit)


def limit_band(x: np.ndarray, rate_hz: float, band_hz: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Samples (T,) without what lies outside a band; both edges are drawn, each up to a fifth lower or higher."""
    low_hz, high_hz = np.array([band_hz[0], band_hz[-1]]) * rng.uniform(1 - EDGE, 1 + EDGE, 2)

    def gain(hz: np.ndarray) -> np.ndarray:
        below = (low_hz / np.maximum(hz, 1e-3)) ** (2 * EDGES[0])
        return 1 / np.sqrt((1 + below) * (1 + (hz / high_hz) ** (2 * EDGES[1])))

    return filtered(x, rate_hz, gain)
