"""Computing the features of a corpus once: a manifest of audio in, a manifest of `.npy` features out.

Stored features have neither deltas nor normalisation; training with features.kind=stored adds both as configured.
Each `.npy` file holds two arrays: the features (of a pretrained encoder: in half precision), and the key of what they
were made from.
"""

import glob
import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from asr import manifest
from asr.config import AugmentConfig, Config
from asr.data.augment import change_sound, change_speed, generator, keeps_words
from asr.data.dataset import load_input
from asr.data.pool import Pool, in_threads
from asr.data.scenes.scene import Scene, has_scenes
from asr.errors import InputError
from asr.features import recorded
from asr.features.encoders import Encoder
from asr.features.frontend import FrontEnd
from asr.files import LONGEST_NAME, atomic_write, fold, keep_inputs, refuse_foreign
from asr.fingerprints import digest_of_input
from asr.locks import locked
from asr.manifest import Utterance
from asr.members import read_ahead
from asr.threads import torch_threads

OWN_FILES = ("config.json", "set_aside.tsv", recorded.ENCODER, "*.npy")
SPEED = "speed"  # extra field of an utterance that was played faster or slower
_NOT_HEARD = ("id", "audio", "features", "text", "speaker", "lang")  # fields that do not change the features


def extract(
    source: str | Path,
    output: str | Path,
    cfg: Config,
    augment: AugmentConfig | None = None,
    encoder: Encoder | None = None,
    pool: Pool | None = None,
) -> Path:
    """Compute the features of the manifest `source` and write the manifest `output`; returns its path.

    With `augment` each recording is played at each of its speeds, which makes as many utterances of it; their ids end
    in `@SPEED`, but for speed 1. Each gets silences, a scene and a level, drawn once from its content, the options and
    the seed.
    `encoder`: that of features=pretrained; None opens the one that `cfg` names.
    `pool`: computes and stores; None: threads of this process. The files have the same bytes.

    The arrays are written to the folder named like `output` without its suffix. A second start continues where the
    first one stopped; it makes the features again whose recording or segment has changed. Utterances without usable
    input are listed with the reason in `set_aside.tsv` in that folder.

    Raises InputError if the folder holds features of another configuration or other files, if it belongs to another
    manifest or another process is writing it, if an input would be overwritten, or if no utterance is left.
    """
    output = Path(output)
    folder = output.with_suffix("")
    if folder == output:
        raise InputError(f"{output} has no suffix; name the manifest to write, such as {output}.jsonl")
    speeds = sorted(set(augment.speeds)) if augment and augment.speeds else [1.0]
    utterances = [at_speed(u, speed) for u in manifest.read(source) for speed in speeds]
    names = _names(utterances)
    written = [output, record_path(output), folder / "set_aside.tsv", *(folder / name for name in names)]
    keep_inputs(written, [source, *(_file(u) for u in utterances)])
    with locked(folder):
        _check_folder(folder, output)
        return _extract_all(utterances, names, source, output, cfg, augment, encoder, pool)


def _check_folder(folder: Path, output: Path) -> None:
    """Raises InputError for a folder of other files, or of another manifest's features."""
    if not record_path(output).exists():
        refuse_foreign(folder, OWN_FILES[:3], "asr features")
    for other in folder.parent.glob(f"{glob.escape(folder.name)}.*"):
        if other != output and other.with_suffix("") == folder and other.is_file():
            with open(other, encoding="utf-8", errors="replace") as file:
                if f'"features": "{folder.name}/' in file.readline():
                    raise InputError(f"{folder} holds the features of {other}; choose another name than {output}")


def _extract_all(
    utterances: list[Utterance],
    names: list[str],
    source: str | Path,
    output: Path,
    cfg: Config,
    augment: AugmentConfig | None,
    encoder: Encoder | None,
    pool: Pool | None,
) -> Path:
    folder, features = output.with_suffix(""), recorded.stored_part(cfg.features)
    recorded.record(features, record_path(output))
    maker = _Maker(replace(cfg, features=features), folder, augment, encoder)
    if maker.digest:
        recorded.record_encoder(features, maker.frontend.encoder, maker.digest, folder / recorded.ENCODER)
    done, set_aside = [], []
    pool = pool or partial(in_threads, cfg.threads or torch.get_num_threads())
    with torch_threads(1), read_ahead():
        made = pool(maker.make, zip(utterances, names, strict=True))
        for utterance, result in zip(utterances, tqdm(made, "features", len(names), unit="utt"), strict=True):
            if isinstance(result, Utterance):
                done.append(result)
                continue
            tqdm.write(f"utterance '{utterance.id}' set aside: {result}")
            set_aside.append((utterance.id, result))
    with atomic_write(folder / "set_aside.tsv") as file:
        file.writelines(f"{name}\t{reason}\n" for name, reason in set_aside)
    if not done:
        raise InputError(f"no utterance of {source} has usable input; {folder / 'set_aside.tsv'} gives the reasons")
    manifest.write(output, done)
    tqdm.write(f"{output}: {len(done)} utterances, {len(set_aside)} set aside, {maker.frontend.dim} values per frame")
    return output


def record_path(output: str | Path) -> Path:
    """Where the front end behind the stored features of a manifest is recorded."""
    return Path(output).with_suffix("") / "config.json"


class _Maker:
    """Computes and stores the features of one utterance after the other, in any thread or process (`_elsewhere`)."""

    def __init__(self, cfg: Config, folder: Path, augment: AugmentConfig | None, encoder: Encoder | None):
        self.given = cfg, folder, augment
        self.cfg, self.folder, self.frontend = cfg, folder, FrontEnd(cfg.features, encoder)
        is_changed = augment and (augment.silence_s or augment.gain_db or has_scenes(augment))
        self.augment = augment if is_changed else None
        self.scene = Scene(augment, cfg.features.sample_rate_hz) if augment and has_scenes(augment) else None
        self.scene_key = self.scene.key() if self.scene else None
        self.is_pretrained = cfg.features.kind == "pretrained"
        self.digest = self.frontend.encoder.digest() if self.is_pretrained else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _elsewhere, (*self.given, self.digest)

    def make(self, item: tuple[Utterance, str]) -> Utterance | InputError:
        """(utterance, name) -> it with its features in that file, made if they are not there; or why there are none."""
        utterance, name = item
        path = self.folder / name
        try:
            if len(name.encode()) > LONGEST_NAME:
                raise InputError(f"the id gives a file name of more than {LONGEST_NAME} bytes; shorten it")
            key = self.key(utterance)
            frames = _frames_made_from(key, path) or self.store(utterance, key, path)
        except InputError as e:
            return e
        length_s = frames * self.cfg.features.shift_ms / 1000
        is_changed = self.augment or SPEED in utterance.extra
        duration_s = length_s if is_changed else utterance.duration_s or length_s
        if self.augment and utterance.text and not keeps_words(self.augment, generator(*key.tolist())):
            utterance = replace(utterance, text="")
        return replace(utterance, audio=None, features=str(path), start_s=0.0, duration_s=duration_s, channel=None)

    def key(self, utterance: Utterance) -> np.ndarray:
        """What features are made from, apart from the configuration of the front end: a hash of the input's content,
        the segment, the limit, the digest of the encoder's weights, and what silences, scene and level are drawn from.

        Every field of an utterance counts that does not describe its text or its place.
        """
        parts = [
            digest_of_input(_file(utterance)),
            {name: value for name, value in vars(utterance).items() if name not in _NOT_HEARD},
            self.cfg.data.max_audio_s,
            self.cfg.data.channel,
            *([self.digest] if self.digest else []),
            *([self.augment.silence_s, self.augment.gain_db, self.cfg.seed] if self.augment else []),
            *([self.scene_key] if self.scene else []),
        ]
        return np.frombuffer(hashlib.sha256(repr(parts).encode()).digest(), np.uint8)

    @torch.inference_mode()
    def store(self, utterance: Utterance, key: np.ndarray, path: Path) -> int:
        """Returns the number of frames."""
        x = load_input(self.cfg, utterance)  # (T,) or (F, D)
        if speed := utterance.extra.get(SPEED):
            x = change_speed(x, speed)
        if self.augment and len(x):
            rate_hz, scene = self.cfg.features.sample_rate_hz, self.scene.change if self.scene else None
            x, _ = change_sound(x, self.augment, rate_hz, generator(*key.tolist()), scene)
        features, _ = self.frontend(torch.from_numpy(x)[None], torch.tensor([len(x)]))  # (1, F, D)
        if not features.shape[1]:
            raise InputError(f"the audio has {len(x)} samples, too few for one frame")
        with np.errstate(over="ignore"):
            stored = features[0].numpy().astype(np.float16 if self.is_pretrained else np.float32)
        if self.is_pretrained and not np.isfinite(stored).all():
            raise InputError("the encoder gives values that half precision cannot hold; take the output of another "
                             "layer, such as a normalised one")  # fmt: skip
        with atomic_write(path, "wb") as file:
            np.save(file, stored)
            np.save(file, key)
        return features.shape[1]


def _elsewhere(cfg: Config, folder: Path, augment: AugmentConfig | None, digest: str | None) -> _Maker:
    """The maker in another process, which is its alone. Raises InputError if the machine lacks something of it."""
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} is not there; write to a folder that all machines share, under the same path")
    torch.set_num_threads(1)
    maker = _Maker(cfg, folder, augment, None)
    if maker.digest != digest:
        raise InputError(f"the encoder {cfg.features.encoder} has other content there; copy it")
    return maker


def at_speed(utterance: Utterance, speed: float) -> Utterance:
    """The utterance to be played `speed` times as fast."""
    if speed == 1:
        return utterance
    return replace(utterance, id=f"{utterance.id}@{speed:g}", extra=utterance.extra | {SPEED: speed})


def _names(utterances: list[Utterance]) -> list[str]:
    """The file name of each utterance's features. They differ on file systems that ignore case, too."""
    names: list[str] = []
    taken: set[str] = set()
    for utterance in utterances:
        name = utterance.id.replace("%", "%25").replace("/", "%2F")
        if fold(name) in taken:
            name += f"%{hashlib.sha256(utterance.id.encode()).hexdigest()[:8]}"
        taken.add(fold(name))
        names.append(f"{name}.npy")
    return names


def _file(utterance: Utterance) -> str:
    return str(utterance.audio or utterance.features)


def _frames_made_from(key: np.ndarray, path: Path) -> int:
    """The number of frames in a file of features; 0 if there is none, it is damaged, or it has another key."""
    try:
        with open(path, "rb") as file:
            features, made_from = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return 0
    return len(features) if np.array_equal(made_from, key) else 0
