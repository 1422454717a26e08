"""Recordings that augmentation draws from: those of a folder or of a manifest."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr import manifest
from asr.errors import InputError
from asr.features import audio
from asr.filekinds import SOUND
from asr.fingerprints import digest, digest_of_input

_log = logging.getLogger(__name__)
SHOWN = 3  # recordings set aside that are named


@dataclass(frozen=True)
class Sound:
    path: str
    start_s: float
    duration_s: float
    channel: int | None


class Sounds:
    """The recordings of a folder, below it included, or of a manifest. Those that cannot be opened, or later not be
    decoded, are named once, and others are drawn in their place.

    Raises InputError if there is none, or if none can be opened. `option` is named in errors.
    """

    def __init__(self, place: str, option: str, rate_hz: float):
        self.name, self.rate_hz = f"{option}={place}", round(rate_hz)
        self.damaged: set[Sound] = set()
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
            raise InputError(f"{self.name}: {why}; expected a folder of recordings (wav, flac ...) or a manifest")
        if faults:
            _log.warning("%s: %d recordings set aside: %s", self.name, len(faults), "; ".join(faults[:SHOWN]))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A whole recording: (T,) float32. Raises InputError if none can be decoded."""
        return self._drawn(rng, lambda sound: self._load(sound, sound.start_s, sound.duration_s))

    def draw_part(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """A part of a recording, (samples,) float32, from a drawn place on; a shorter recording is repeated. Raises
        InputError if none can be decoded."""
        needed_s, place = samples / self.rate_hz, rng.random()

        def part(sound: Sound) -> np.ndarray:
            if sound.duration_s > needed_s:
                return self._load(sound, sound.start_s + place * (sound.duration_s - needed_s), needed_s)
            x = self._load(sound, sound.start_s, sound.duration_s)
            return np.roll(x, round(place * len(x)))

        return np.resize(self._drawn(rng, part), samples)

    def _drawn(self, rng: np.random.Generator, load: Callable[[Sound], np.ndarray]) -> np.ndarray:
        """What `load` gives of a drawn recording. It follows from the generator and the files, not from earlier draws,
        so a damaged recording is tried again each time that it is drawn."""
        fault = ""
        for index in rng.permutation(len(self.sounds)):
            sound = self.sounds[index]
            try:
                return load(sound)
            except InputError as e:
                fault = str(e)
                if sound not in self.damaged:
                    self.damaged.add(sound)
                    _log.warning("%s: another recording is drawn in place of one that is damaged: %s", self.name, e)
        raise InputError(f"{self.name}: none of its {len(self.sounds)} recordings can be decoded: {fault}")

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
    """Tells recordings from others: a digest of the names and contents of a folder's recordings, or of a manifest and
    the contents of its recordings. None if there is neither; what cannot be read is reported by its reader."""
    if place is None or not os.path.exists(place):
        return None
    try:
        names = [path for path, *_ in _listed(place)]
    except InputError:
        names = []
    known = tqdm(names, "fingerprints", unit="file", delay=2.0, leave=False)
    is_folder = os.path.isdir(place)  # a manifest names its recordings itself
    parts = [(os.path.relpath(name, place) if is_folder else "", digest_of_input(name)) for name in known]
    return hashlib.sha256(repr([digest(place), *parts]).encode()).hexdigest()
