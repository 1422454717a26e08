"""Noise to add to speech: coloured, babble of many voices, and the hum of the mains. All have an RMS of 1."""

from collections.abc import Callable

import numpy as np

from asr.data.augment import coloured
from asr.data.scenes.spectra import at_level, rms

VOICES = (3, 8)  # fewest and most voices of a babble
MAINS_HZ = (50.0, 60.0)
HIGHEST_HUM_HZ = 1500.0
Voice = Callable[[np.random.Generator], np.ndarray]  # the samples (T,) of a drawn utterance; none if it is unreadable


def coloured_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise between white and brown: (samples,) float32."""
    return coloured(rng.standard_normal(samples), rng.uniform(0, 1))


def babble(samples: int, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Some voices at once, each at the same level, from a drawn place on and repeated: (samples,) float32.

    Voices that cannot be read or are silent are left out; coloured noise stands for a babble without any.
    """
    total = np.zeros(samples, np.float32)
    for _ in range(rng.integers(VOICES[0], VOICES[1] + 1)):
        x, place = voice(rng), rng.random()
        if rms(x):
            total += np.resize(np.roll(at_level(x, 1.0), round(place * len(x))), samples)
    return at_level(total, 1.0) if rms(total) else coloured_noise(samples, rng)


def hum(samples: int, rate_hz: float, rng: np.random.Generator) -> np.ndarray:
    """A mains frequency with overtones of drawn level and phase: (samples,) float32."""
    pitch_hz = MAINS_HZ[rng.integers(len(MAINS_HZ))]
    overtones = np.arange(1, int(min(HIGHEST_HUM_HZ, rate_hz / 2 - 1) / pitch_hz) + 1)
    levels = rng.exponential(1.0, len(overtones)) / overtones
    phases = rng.uniform(0, 2 * np.pi, len(overtones))
    time_s = np.arange(samples) / rate_hz
    total = np.zeros(samples)
    for overtone, level, phase in zip(overtones, levels, phases, strict=True):
        total += level * np.sin(2 * np.pi * pitch_hz * overtone * time_s + phase)
    return at_level(total, 1.0)
