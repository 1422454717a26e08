"""Pauses in speech, at which long recordings are cut."""

import numpy as np

STEP_S, WINDOW_S = 0.01, 0.03  # the level is measured over 30 ms, every 10 ms
FLOOR, PEAK = 5, 95  # percentiles of the level: the background noise and the speech
QUIET = 0.3  # part of the range from the noise to the speech, in dB, below which a moment is quiet
SILENCE_DB = -100.0  # digital silence


def levels(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Power in dB around every 10 ms of samples (T,): (T / step,)."""
    step = round(STEP_S * sample_rate_hz)
    count = max(1, len(samples) // step)
    if len(samples) < step:
        return np.full(count, SILENCE_DB)
    power = np.square(samples[: count * step].reshape(count, step), dtype=np.float64).mean(1)  # (T / step,)
    width = round(WINDOW_S / STEP_S)
    padded = np.pad(power, width // 2, mode="edge")
    return 10 * np.log10(np.convolve(padded, np.full(width, 1 / width), "valid") + 10 ** (SILENCE_DB / 10))


def best_pause(samples: np.ndarray, sample_rate_hz: int, after_s: float) -> int:
    """The sample in the middle of the clearest pause after `after_s` in samples (T,).

    The background noise is the 5th percentile of the level in dB, digital silence left out, and the speech the 95th. A
    pause is a run of moments in the lower 30 % of that range. The clearest pause has the largest area below the limit
    (depth times duration), so that a breath of 0.3 s wins against the closure of a `p`; a level below the noise
    counts as the noise, so that dropouts do not win. Without a pause the quietest moment is taken.
    """
    level = levels(samples, sample_rate_hz)  # (F,)
    heard = level[level > SILENCE_DB + 1]  # without digital silence
    noise, speech = np.percentile(heard if len(heard) else level, (FLOOR, PEAK))
    limit = noise + QUIET * (speech - noise)
    first = min(round(after_s / STEP_S), len(level) - 1)
    depth = limit - np.maximum(level[first:], noise) + 1e-3  # (F - first,); above 0 where it is quiet
    edges = np.flatnonzero(np.diff(np.concatenate([[False], depth > 0, [False]])))  # starts and ends of pauses in turn
    if not len(edges):
        middle = float(level[first:].argmin())
    else:
        areas = [depth[start:end].sum() for start, end in edges.reshape(-1, 2)]
        start, end = edges.reshape(-1, 2)[int(np.argmax(areas))]
        middle = float(np.average(np.arange(start, end), weights=depth[start:end]))
    return round((first + middle + 0.5) * round(STEP_S * sample_rate_hz))
