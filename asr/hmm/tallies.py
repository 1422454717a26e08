"""Counts, sums and sums of squares of frames: all that the likelihood of a single Gaussian needs.

They add up, so the likelihood of any union of sets of frames follows without a look at the frames.
"""

import math
from dataclasses import dataclass

import numpy as np

COUNT = 0  # column of a tally; D sums and D sums of squares follow


def tally(x: np.ndarray) -> np.ndarray:
    """The tally (1 + 2 D,) of the frames x (F, D), float64."""
    x = x.astype(np.float64)
    return np.concatenate([[len(x)], x.sum(0), np.square(x).sum(0)])


def log_likelihood(tallies: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The log-likelihood of the frames of each tally (..., 1 + 2 D) under their own Gaussian of diagonal covariance.

    -n/2 (D (1 + ln 2 pi) + sum_d ln v_d), as in Young, Odell & Woodland 1994, eq. (1); 0 for no frames. `floor` (D,):
    least variances.
    """
    dim = len(floor)
    count = tallies[..., :1]
    safe = np.maximum(count, 1e-9)
    mean = tallies[..., 1 : 1 + dim] / safe
    variance = np.maximum(tallies[..., 1 + dim :] / safe - np.square(mean), floor)
    return -0.5 * count[..., 0] * (dim * (1 + math.log(2 * math.pi)) + np.log(variance).sum(-1))


@dataclass(frozen=True)
class ContextTally:
    """The frames of one state of a phone, by context: M pairs of the phone before and after."""

    contexts: np.ndarray  # (M, 2)
    tallies: np.ndarray  # (M, 1 + 2 D)

    @property
    def total(self) -> np.ndarray:
        return self.tallies.sum(0)

    def where(self, chosen: np.ndarray) -> "ContextTally":
        """The contexts that are `chosen` (M,)."""
        return ContextTally(self.contexts[chosen], self.tallies[chosen])
