"""Draws what a recording goes through: a room, noise, a microphone, clipping, a telephone's band, a codec."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from asr.augment_options import SHARES, AugmentConfig
from asr.config import Config
from asr.data.scenes.codecs import check_codecs, through
from asr.data.scenes.devices import EDGE, another_microphone, clip, limit_band
from asr.data.scenes.noises import Voice, babble, coloured_noise, hum
from asr.data.scenes.rooms import RecordedRooms, draw_room, reverberate
from asr.data.scenes.sounds import Sounds, digest_of_sounds
from asr.data.scenes.spectra import at_level
from asr.errors import InputError, nearest

NOISES = ("coloured", "babble", "hum")
_RECORDED = "recorded"
_OPTIONS = ("room_", "noise", "filter_", "clip_", "band_", "codec")  # how the options of scenes begin
_RANGES = (("room_share", "room_rt60_s"), ("noise_share", "noise_db"), ("filter_share", "filter_db"),
           ("clip_share", "clip_db"), ("band_share", "band_hz"))  # fmt: skip
SHORTEST_S = 0.02  # shorter sounds are left as they are


class Scene:
    """The changes that `cfg` asks for, in the order in which sound meets them. They draw all from the generator that
    they are given, and keep the length and the place of the words.

    `voice` draws the voices of a babble; None: there are no other utterances. Raises InputError for kinds of noise and
    codecs that do not exist, ranges that are none, and folders without recordings.
    """

    def __init__(self, cfg: AugmentConfig, rate_hz: int, voice: Voice | None = None):
        self.cfg, self.rate_hz, self.voice = cfg, rate_hz, voice
        check_ranges(cfg, rate_hz)
        if cfg.codec_share:
            check_codecs(cfg.codecs)
        has_files = cfg.noise_share and cfg.noise_files
        self.recorded = Sounds(cfg.noise_files or "", "augment.noise_files", rate_hz) if has_files else None
        self.kinds = [*cfg.noises, *([_RECORDED] if has_files else [])]
        if cfg.noise_share:
            self._check_noises()
        self.rooms = RecordedRooms(cfg.room_files, rate_hz) if cfg.room_share and cfg.room_files else None

    def _check_noises(self) -> None:
        if not self.kinds:
            raise InputError("augment.noises=[] without augment.noise_files leaves no noise; name some of "
                             f"{', '.join(NOISES)}, or set augment.noise_share=0")  # fmt: skip
        if unknown := [kind for kind in self.cfg.noises if kind not in NOISES]:
            hint = nearest(unknown[0], NOISES)
            raise InputError(f"augment.noises={unknown[0]}: expected some of {', '.join(NOISES)}{hint}")
        if self.voice is None and "babble" in self.kinds:
            raise InputError("augment.noises: babble is mixed from other utterances, on which stored outputs of an "
                             "encoder cannot depend; set augment.noises=[coloured,hum]")  # fmt: skip

    def change(self, x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        """Samples (T,) in [-1, 1], changed. `level`: the RMS of the speech, to which that of the noise is relative."""
        cfg = self.cfg
        if len(x) < SHORTEST_S * self.rate_hz:
            return x
        if _is_drawn(cfg.room_share, rng):
            room = self.rooms.draw(rng) if self.rooms else draw_room(cfg.room_rt60_s, self.rate_hz, rng)
            x = reverberate(x, room)
        if _is_drawn(cfg.noise_share, rng):
            below_db = rng.uniform(cfg.noise_db[0], cfg.noise_db[-1])
            x = x + at_level(self._noise(len(x), rng), level * 10 ** (-below_db / 20))
        if _is_drawn(cfg.filter_share, rng):
            x = another_microphone(x, self.rate_hz, cfg.filter_db, rng)
        if _is_drawn(cfg.clip_share, rng):
            x = clip(x, cfg.clip_db, rng)
        if _is_drawn(cfg.band_share, rng):
            x = limit_band(x, self.rate_hz, cfg.band_hz, rng)
        x = _within(x)
        if _is_drawn(cfg.codec_share, rng):
            x = _within(through(x, self.rate_hz, cfg.codecs[rng.integers(len(cfg.codecs))]))
        return x

    def _noise(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        kind = self.kinds[rng.integers(len(self.kinds))]
        if kind == "babble" and self.voice:
            return babble(samples, self.voice, rng)
        if kind == "hum":
            return hum(samples, self.rate_hz, rng)
        if kind == _RECORDED and self.recorded:
            return self.recorded.draw_part(samples, rng)
        return coloured_noise(samples, rng)

    def key(self) -> dict[str, object]:
        """What the changes depend on, besides the sound and the generator."""
        options = {name: value for name, value in asdict(self.cfg).items() if name.startswith(_OPTIONS)}
        return options | {name: digest_of_sounds(options[name]) for name in ("noise_files", "room_files")}


def _is_drawn(share: float, rng: np.random.Generator) -> bool:
    """Draws nothing for a share of 0, so that a new kind of change does not alter trainings without it."""
    return bool(share) and rng.random() < share


def _within(x: np.ndarray) -> np.ndarray:
    """Samples (T,) scaled into [-1, 1] if they exceed it."""
    return (x / max(1.0, float(np.abs(x).max()))).astype(np.float32)


def has_scenes(cfg: AugmentConfig) -> bool:
    return any(getattr(cfg, name) for name in SHARES)


def without_scenes(cfg: AugmentConfig) -> AugmentConfig:
    none: dict[str, Any] = dict.fromkeys(SHARES, 0.0)
    return replace(cfg, **none)


def check_ranges(cfg: AugmentConfig, rate_hz: float) -> None:
    """Raises InputError for a range in use that is not two numbers, the lower first, and for a telephone's band that
    would leave nothing of the sound."""
    for share, name in _RANGES:
        ends = getattr(cfg, name)
        if getattr(cfg, share) and (len(ends) != 2 or ends[0] > ends[1]):
            raise InputError(f"augment.{name}={ends} is no range; give two numbers, the lower first, or set "
                             f"augment.{share}=0")  # fmt: skip
    if cfg.gain_db and (len(cfg.gain_db) != 2 or cfg.gain_db[0] > cfg.gain_db[1]):
        raise InputError(f"augment.gain_db={cfg.gain_db} is no range; give two numbers, the lower first, or [] for no "
                         "change")  # fmt: skip
    low_hz, high_hz = cfg.band_hz if cfg.band_share else (0.0, rate_hz)
    if low_hz * (1 + EDGE) > min(rate_hz / 2, high_hz * (1 - EDGE)):
        raise InputError(f"augment.band_hz={cfg.band_hz} leaves nothing of sound at {rate_hz:g} Hz: each edge is drawn "
                         f"up to a fifth lower or higher; take a wider band below {rate_hz / 2:g} Hz")  # fmt: skip


def check_augment(cfg: Config) -> None:
    """Raises InputError as `check_ranges` does, and for changes of samples if the net is trained on stored features,
    which have none."""
    check_ranges(cfg.augment, cfg.features.sample_rate_hz)
    if cfg.features.kind == "stored" and has_scenes(cfg.augment):
        share = next(name for name in SHARES if getattr(cfg.augment, name))
        raise InputError(f"augment.{share} changes samples, and features=stored has none; set it to 0, or train on "
                         "recordings, as with features=logmel")  # fmt: skip
