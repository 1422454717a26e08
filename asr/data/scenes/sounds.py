"""Recordings that augmentation draws from: those of a folder or of a manifest."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr import manifest
from asr.errors import InputError
from asr.features import audio
from asr.filekinds import SOUND
from asr.fingerprints import digest

_log = logging.getLogger(__name__)
SHOWN = 3  # recordings set aside that are named


@dataclass(frozen=True)
class Sound:
    path: str
    start_s: float
    duration_s: float
    channel: int | None


class Sounds:
    """The recordings of a folder, below it included, or of a manifest; those that cannot be opened are named.

    Raises InputError if there is none, or if none can be opened. `option` is named in errors.
    """

    def __init__(self, place: str, option: str, rate_hz: float):
        self.rate_hz = round(rate_hz)
        self.sounds, faults = [], []
        listed = _listed(place)
        for path, start_s, duration_s, channel in listed:
            try:
                end_s = audio.info(path).duration_s
                if start_s + (duration_s or 0.0) > end_s + audio.SLACK_S or start_s >= end_s:
                    raise InputError(f"{path} lasts {end_s:.2f} s, less than its part in {place}")
            except InputError as e:
                faults.append(str(e))
                continue
            self.sounds.append(Sound(path, start_s, duration_s or end_s - start_s, channel))
        if not self.sounds:
            why = f"none of its {len(listed)} recordings can be read: {faults[0]}" if faults else "it has no recording"
            raise InputError(f"{option}={place}: {why}; expected a folder of recordings (wav, flac ...) or a manifest")
        if faults:
            _log.warning("%s=%s: %d recordings set aside: %s", option, place, len(faults), "; ".join(faults[:SHOWN]))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A whole recording: (T,) float32. Raises InputError if it cannot be read."""
        sound = self.sounds[rng.integers(len(self.sounds))]
        return self._load(sound, sound.start_s, sound.duration_s)

    def draw_part(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """A part of a recording, (samples,) float32, from a drawn place on; a shorter recording is repeated."""
        sound = self.sounds[rng.integers(len(self.sounds))]
        needed_s, place = samples / self.rate_hz, rng.random()
        if sound.duration_s > needed_s:
            x = self._load(sound, sound.start_s + place * (sound.duration_s - needed_s), needed_s)
        else:
            x = self._load(sound, sound.start_s, sound.duration_s)
            x = np.roll(x, round(place * len(x)))
        return np.resize(x, samples)

    def _load(self, sound: Sound, start_s: float, duration_s: float) -> np.ndarray:
        return audio.load(sound.path, start_s, duration_s, self.rate_hz, channel=sound.channel)


def _listed(place: str) -> list[tuple[str, float, float | None, int | None]]:
    """Path, start, duration and channel of each recording."""
    if os.path.isdir(place):
        return [(str(path), 0.0, None, None) for path in _files(Path(place))]
    return [(u.audio, u.start_s, u.duration_s, u.channel) for u in manifest.read(place) if u.audio]


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUND and p.is_file() and p.name[0] != ".")


def digest_of_sounds(place: str | None) -> str | None:
    """Tells recordings from others: the digest of a manifest, or of the names and sizes of a folder's recordings."""
    if place is None or not os.path.isdir(place):
        return digest(place)
    files = [(path.relative_to(place).as_posix(), path.stat().st_size) for path in _files(Path(place))]
    return hashlib.sha256(repr(files).encode()).hexdigest()
