"""Quiet noise before and behind a recording: nets on pretrained encoders hear words at its very edges badly."""

import numpy as np

from asr.hypothesis import Hypothesis

LEVEL = 10 ** (-50 / 20)  # of the noise, relative to the recording's peak; zeros helped half as much on dev


def pad(x: np.ndarray, seconds: float, rate_hz: int) -> np.ndarray:
    """Samples (T,) with `seconds` of noise on both sides. The noise is the same for recordings of the same length."""
    if not seconds or not len(x):
        return x
    side = round(seconds * rate_hz)
    noise = np.random.default_rng(len(x)).standard_normal(2 * side).astype(np.float32)
    noise *= np.float32(LEVEL * np.abs(x).max())
    return np.concatenate([noise[:side], x, noise[side:]])


def unpad(hypothesis: Hypothesis, seconds: float) -> Hypothesis:
    """Times in the recording that `pad` took."""

    def moved(time_s: float) -> float:
        return round(min(max(time_s - seconds, 0.0), hypothesis.duration_s), 3)

    return hypothesis.moved(moved) if seconds else hypothesis
