"""Data augmentation: speed perturbation, silence and levels, changes of bands and bins, SpecAugment.

All random numbers come from a generator that the caller seeds with (seed, epoch, utterance) or (seed, step, shard), so
that a resumed training draws the same numbers. Rooms, noise and channels are in asr.data.scenes; dither is part of the
front end (asr.features.frontend), as in Kaldi.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import soxr
import torch
from torch import Tensor

from asr.config import AugmentConfig, Config
from asr.features.pauses import best_pause

NOISE_DB = (-55.0, -10.0)  # of the noise around the speech, relative to the RMS of the utterance
STEP_DB = (-20.0, 20.0)  # of a change of level within an utterance
STEPS = 0.4  # share of the utterances with such a change
SILENCES = 0.5  # chance of each place: before, within and behind an utterance
ZEROS = 1 / 3  # share of silences that are digital zeros
NOTHING = 0.02  # share of the utterances whose place is taken by silence or noise, without words
Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]  # of samples (T,) whose speech has this RMS


def generator(*key: int) -> np.random.Generator:
    """A random generator seeded by the key."""
    return np.random.default_rng(key)


def change_speed(x: np.ndarray, speed: float) -> np.ndarray:
    """Samples (T,) played `speed` times as fast. Tempo and pitch change together (Ko et al. 2015)."""
    if speed == 1.0:
        return x
    return soxr.resample(x, speed, 1.0, quality="LQ").astype(np.float32)


def change_tempo(x: np.ndarray, speed: float) -> np.ndarray:
    """Stored features (F, D) `speed` times as fast, by linear interpolation over time. The pitch does not change."""
    if speed == 1.0 or len(x) < 2:
        return x
    at = np.linspace(0, len(x) - 1, max(2, round(len(x) / speed)))
    left = np.minimum(at.astype(np.int64), len(x) - 2)
    share = (at - left).astype(np.float32)[:, None]
    return (1 - share) * x[left] + share * x[left + 1]


def add_silence(
    x: np.ndarray,
    longest: int,
    pause: Callable[[int], int],
    silence: Callable[[int], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Samples (T,) or features (F, D) with at most `longest` of silence before, behind and in a pause, each every
    second time. Short silences are more frequent.

    `pause(after)` is the place of a pause, `silence(length)` makes silence.
    """
    before, within, behind = (int(longest * rng.uniform() ** 3) if rng.random() < SILENCES else 0 for _ in range(3))
    at = pause(int(rng.integers(len(x)))) if within else 0
    added = silence(before + within + behind)
    return np.concatenate([added[:before], x[:at], added[before : before + within], x[at:], added[before + within :]])


def change_sound(
    x: np.ndarray, cfg: AugmentConfig, rate_hz: int, rng: np.random.Generator, scene: Change | None = None
) -> tuple[np.ndarray, bool]:
    """Samples (T,) with silences, a `scene` and a level drawn as `cfg` says, and whether their words are in them."""

    def pause(after: int) -> int:
        return best_pause(x, rate_hz, after / rate_hz)

    silence = partial(noise, x=x, rng=rng)
    y, has_words = _with_silence(x, cfg, round(cfg.silence_s * rate_hz), pause, silence, rng)
    if scene:
        y = scene(y, float(np.sqrt(np.mean(np.square(x), dtype=np.float64))), rng)
    if has_words and cfg.gain_db:
        y = change_level(y, (cfg.gain_db[0], cfg.gain_db[-1]), rate_hz, rng)
    return y, has_words


def change_bands(
    x: np.ndarray, cfg: AugmentConfig, rate_hz: float, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """The same for log energies (F, D) of `rate_hz` frames per second, whose level is not changed."""

    def pause(after: int) -> int:
        return after + int(x[after:].mean(1).argmin())

    return _with_silence(x, cfg, round(cfg.silence_s * rate_hz), pause, partial(band_noise, x=x, rng=rng), rng)


def keeps_words(cfg: AugmentConfig, rng: np.random.Generator) -> bool:
    """Whether an utterance keeps its words: the first draw of `change_sound` and `change_bands`."""
    return not cfg.silence_s or rng.random() >= NOTHING


def _with_silence(
    x: np.ndarray,
    cfg: AugmentConfig,
    longest: int,
    pause: Callable[[int], int],
    silence: Callable[[int], np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, bool]:
    if not keeps_words(cfg, rng):
        return silence(max(1, int(rng.uniform() * longest))), False
    return (add_silence(x, longest, pause, silence, rng) if cfg.silence_s else x), True


def noise(length: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Silence of a recording x (T,): digital zeros, or noise of a random colour and level: (length,) float32."""
    if length < 2 or rng.random() < ZEROS:
        return np.zeros(length, np.float32)
    level = np.sqrt(np.mean(np.square(x), dtype=np.float64)) * 10 ** (rng.uniform(*NOISE_DB) / 20)
    return (level * coloured(rng.standard_normal(length), rng.uniform(0, 1))).astype(np.float32)


def band_noise(length: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same in log energies x (F, D): equal ones, or noise: (length, D) float32."""
    floor = np.full((length, x.shape[1]), x.min(), np.float32)
    if rng.random() < ZEROS:
        return floor
    level = np.log(np.exp(x).sum(1).mean() / x.shape[1]) + rng.uniform(*NOISE_DB) * np.log(10) / 10
    slope = rng.uniform(-1.5, 1.5) * np.linspace(-1, 1, x.shape[1])
    return np.logaddexp(floor, level + slope + np.log(rng.gamma(4, 1 / 4, floor.shape))).astype(np.float32)


def coloured(white: np.ndarray, slope: float) -> np.ndarray:
    """White noise (T,) -> noise of unit power whose spectrum falls as 1/f^slope: 0 white, 1 brown."""
    spectrum = np.fft.rfft(white)
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** slope
    noise = np.fft.irfft(spectrum, len(white))
    return (noise / noise.std()).astype(np.float32)


def change_level(
    x: np.ndarray, gain_db: tuple[float, float], sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Samples (T,) at another level, clipped to [-1, 1]; in some the level changes once, in a pause."""
    x = x * np.float32(10 ** (rng.uniform(*gain_db) / 20))
    if rng.random() < STEPS:
        at = best_pause(x, sample_rate_hz, rng.uniform() * len(x) / sample_rate_hz)
        x[at:] *= np.float32(10 ** (rng.uniform(*STEP_DB) / 20))
    return x.clip(-1, 1)


def another_room(mels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-mel bands (F, D) as recorded by another microphone in another room: a smooth random frequency response, and
    stationary noise 12 to 40 dB below the speech."""
    bands = mels.shape[1]
    band = np.arange(bands)
    response = sum(rng.normal(0, 0.7 / k) * np.cos(np.pi * k * (band + 0.5) / bands) for k in (1, 2, 3))
    noise = np.exp(-rng.uniform(0, 3) * band / bands)
    noise *= np.exp(mels).sum(1).mean() / noise.sum() * 10 ** (-rng.uniform(12, 40) / 10)
    return np.logaddexp(mels + response, np.log(noise * rng.gamma(4, 1 / 4, mels.shape)))


def warp_bins(x: Tensor, warp: float, rng: np.random.Generator) -> Tensor:
    """Stretch the bins of each utterance of (N, F, D) by a factor drawn from [1 - warp, 1 + warp).

    This is vocal tract length perturbation (Jaitly & Hinton 2013) on the scale of the filterbank.
    """
    bins = x.shape[2]
    factor = torch.from_numpy(rng.uniform(1 - warp, 1 + warp, len(x))).to(x)[:, None]  # (N, 1)
    at = (torch.arange(bins, device=x.device) * factor).clamp(max=bins - 1)  # (N, D)
    left = at.floor().clamp(max=bins - 2)
    share = (at - left)[:, None]  # (N, 1, D)
    index = left.long()[:, None].expand_as(x)
    return torch.lerp(x.gather(2, index), x.gather(2, index + 1), share.expand_as(x))


def of_features(cfg: Config) -> AugmentConfig:
    """The augmentation of a training's features. Frames of samples (features=wave) have no bins that could be masked or
    stretched."""
    return replace(cfg.augment, freq_masks=0, bin_warp=0.0) if cfg.features.kind == "wave" else cfg.augment


def mask_features(x: Tensor, lengths: Tensor, cfg: AugmentConfig, shift_s: float, rng: np.random.Generator) -> Tensor:
    """SpecAugment (Park et al. 2019) on features (N, F, ..., D): bands of bins and spans of frames become zero, which
    is the mean after CMVN.

    `shift_s`: frame shift in seconds. Returns a copy.
    """
    x = x.clone()
    bins = x.shape[-1]
    for utterance, frames in zip(x, lengths.tolist(), strict=True):
        for _ in range(cfg.freq_masks):
            width = int(rng.integers(0, min(cfg.freq_width, bins) + 1))
            start = int(rng.integers(0, bins - width + 1))
            utterance[..., start : start + width] = 0
        left = int(cfg.time_fraction * frames)
        for _ in range(cfg.time_masks):
            width = int(rng.integers(0, min(round(cfg.time_width_s / shift_s), left) + 1))
            start = int(rng.integers(0, frames - width + 1))
            utterance[start : start + width] = 0
            left -= width
    return x
