"""Where the sound changes: a net says which token is heard, the spectrum says when it begins.

The change at a moment is the distance (root mean square, in nats) between the mean log spectra of the 30 ms behind and
before it, in 20 bands that widen with frequency, every 5 ms. A boundary moves to a nearby moment of large change: the
one with the largest log change less a square cost of the distance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
import torch
from numpy.typing import ArrayLike

HOP_S, WINDOW_S = 0.005, 0.025
SIDE = 6  # windows before and behind a moment
BANDS = 20
REACH_S, SPREAD_S = 0.04, 0.025  # how far a boundary may move, and the deviation of the cost of moving (CTC)
LEAST_CHANGE = 1e-3  # added to each
BLOCK = 256  # windows at a time, which fit the cache of the CPU
FLOOR = 1e-6  # of a band's energy, against the mean of all


@dataclass(frozen=True)
class Changes:
    """`log_change` (M,) of the moments k * `HOP_S`."""

    log_change: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray, sample_rate_hz: int) -> "Changes":
        """Of samples (T,)."""
        spectra = _log_spectra(samples, sample_rate_hz)  # (BANDS, M), around each moment
        size = spectra.shape[1]
        around = spectra.take(np.arange(-SIDE, size + SIDE), axis=1, mode="clip")  # (BANDS, M + 2 SIDE)
        parts = (around[:, k : k + size + SIDE + 1] for k in range(SIDE))
        means = reduce(np.add, parts) / SIDE  # (BANDS, M + SIDE + 1), of SIDE windows each
        change = np.sqrt(np.square(means[:, SIDE:] - means[:, :-SIDE]).mean(0))  # (M + 1,)
        return cls(np.log(change[:size] + LEAST_CHANGE).astype(np.float32))

    @classmethod
    def joined(cls, parts: Sequence[tuple[float, "Changes"]]) -> "Changes":
        """Of a recording of which each of `parts` begins at a time (s). Parts need not be whole numbers of `HOP_S`."""
        places = [(round(start_s / HOP_S), part.log_change) for start_s, part in parts]
        size = max((place + len(found) for place, found in places), default=0)
        joined = np.full(size, np.log(LEAST_CHANGE), np.float32)
        for place, found in places:
            joined[place : place + len(found)] = found
        return cls(joined)

    def nearest(
        self, times_s: np.ndarray, lows_s: ArrayLike, highs_s: ArrayLike, spread_s: float = SPREAD_S
    ) -> np.ndarray:
        """The moments in [low, high] to which boundaries at `times_s` (B,) move; a boundary stays where there is none.

        `spread_s`: the deviation of the cost of moving."""
        reach = math.ceil(REACH_S / HOP_S)
        places = np.round(times_s / HOP_S).astype(int)[:, None] + np.arange(-reach, reach + 1)  # (B, 2 reach + 1)
        moments = places * HOP_S
        distances = moments - times_s[:, None]
        allowed = (np.abs(distances) <= REACH_S) & (places >= 0) & (places < len(self.log_change))
        allowed &= (moments >= np.reshape(lows_s, (-1, 1))) & (moments <= np.reshape(highs_s, (-1, 1)))
        if not allowed.any():
            return times_s
        change = self.log_change[np.clip(places, 0, len(self.log_change) - 1)]
        gain = np.where(allowed, change - np.square(distances / spread_s) / 2, -np.inf)
        best = moments[np.arange(len(places)), gain.argmax(1)]
        return np.where(allowed.any(1), best, times_s)


def _log_spectra(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Log energies (BANDS, M) of windows centred at k * `HOP_S`."""
    window, hop = round(WINDOW_S * sample_rate_hz), HOP_S * sample_rate_hz
    count = max(1, int(len(samples) / hop))
    padded = np.zeros(len(samples) + window // 2 + window, np.float32)
    padded[window // 2 : window // 2 + len(samples)] = samples
    every = torch.from_numpy(padded).unfold(0, window, 1)
    if hop.is_integer():
        windows: Iterable[torch.Tensor] = every[:: int(hop)][:count].split(BLOCK)  # (m, window) each, views
    else:
        starts = torch.from_numpy(np.round(np.arange(count) * hop).astype(int))
        windows = (every[block] for block in starts.split(BLOCK))
    shape, sums = _window(window), _band_sums(window // 2 + 1)
    bands = torch.cat([sums @ torch.view_as_real(torch.fft.rfft(x * shape)).flatten(1).square_().T for x in windows], 1)
    return bands.add_(FLOOR * bands.mean() + 1e-20).log_().numpy()


_window = cache(torch.hann_window)


@cache
def _band_sums(size: int) -> torch.Tensor:
    """Which of the squares of a spectrum's real and imaginary parts, one after the other, are in each band:
    (BANDS, 2 size)."""
    edges = np.unique(np.round(size * np.linspace(0.1, 1, BANDS + 1) ** 1.7).astype(int))[:-1]
    band = np.searchsorted(edges, np.arange(size), "right") - 1  # -1: below all
    return torch.from_numpy(np.arange(len(edges))[:, None] == band).float().repeat_interleave(2, 1)
