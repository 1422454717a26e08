"""What the recipes of Korean corpora share: headerless recordings, held-out speakers, text for the language model."""

import io
import lzma
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import soundfile

from asr import manifest
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.clean import clean
from asr.text.spoken import spoken

HEADERLESS_HZ = 16000
HELD_OUT = 20  # one of so many speakers is for dev


def as_spoken(text: str) -> str:
    """Numbers in words, without punctuation."""
    return clean(spoken(text, "ko"), "ko")


def as_flac(path: Path, flac: Path) -> float:
    """Write headerless samples (16 bit, little-endian, 16 kHz, mono) to a FLAC file; returns their seconds.

    A file that is newer than the samples stays. Raises InputError for a file without samples and for one that is cut.
    """
    try:
        num_bytes = path.stat().st_size
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}") from e
    if num_bytes == 0 or num_bytes % 2:
        raise InputError(f"{path} has {num_bytes} bytes; expected samples of two bytes each")
    duration_s = num_bytes / 2 / HEADERLESS_HZ
    is_newer = flac.exists() and flac.stat().st_mtime >= path.stat().st_mtime
    if not is_newer or audio.info(flac).duration_s != duration_s:
        sound = io.BytesIO()
        soundfile.write(sound, np.fromfile(path, "<i2"), HEADERLESS_HZ, format="FLAC", subtype="PCM_16")
        with atomic_write(flac, "wb") as file:
            file.write(sound.getvalue())
    return duration_s


def hold_out(utterances: Iterable[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Train and dev: every 20th speaker, in order of their names, is for dev."""
    utterances = list(utterances)
    speakers = sorted({u.speaker or "" for u in utterances})
    if len(speakers) < 2:
        raise InputError("the training part has one speaker; expected several, of whom some are held out for dev")
    held_out = set(speakers[::HELD_OUT])
    dev = [u for u in utterances if (u.speaker or "") in held_out]
    return [u for u in utterances if (u.speaker or "") not in held_out], dev


def sentences(paths: Iterable[Path], without: Container[str]) -> Iterator[str]:
    """The lines of packed texts (xz) as they are spoken, but for those in `without`."""
    for path in paths:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            yield from (text for text in map(as_spoken, lines) if text not in without)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_write(path) as file:
        file.writelines(line + "\n" for line in lines)


def write_set(folder: Path, split: str, utterances: Sequence[Utterance]) -> None:
    """Write `folder/SPLIT.jsonl` and say how much it is."""
    manifest.write(folder / f"{split}.jsonl", utterances)
    print(f"{split}: {len(utterances)} utterances, {sum(u.duration_s or 0 for u in utterances) / 3600:.1f} h")


def write_lm_text(folder: Path, root: str | None) -> None:
    """Write `folder/lm.txt`: the texts of `folder/train.jsonl` and, if it is found, the written Korean in the folder
    `text_ko`, without the sentences of the other manifests in `folder`."""
    others = (u for path in sorted(folder.glob("*.jsonl")) if path.stem != "train" for u in manifest.read(path))
    held_out = {as_spoken(u.text) for u in others if u.text}
    has_texts = root is None or (Path(root) / "text_ko").is_dir()
    texts = corpora.find("text_ko", root) if has_texts else None
    packed = sorted(texts.glob("*.txt.xz")) if texts else []
    own = (u.transcript for u in manifest.read(folder / "train.jsonl"))
    write_lines(folder / "lm.txt", chain(own, sentences(packed, held_out)))
