"""Digit strings of a speaker left out of the training.

Five voices are too few to train on, so two sources join them: AN4, whose 74 speakers say digits among other things, and
SYNTHETIC digits by espeak-ng and Kokoro. AN4 is available only as Sphinx cepstra, so all recordings are converted to
their form: 40 log-mel bands of Sphinx's front end, smoothed by 13 cosines. The 26 bands below 4 kHz are kept, as the
digits were recorded at 8 kHz. AN4 is clean speech from one microphone; each copy of an utterance gets random noise and
a random microphone response.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.data import corpora
from asr.data.augment import another_room
from asr.errors import InputError
from asr.features import audio
from asr.features.files import cepstra_to_bands, load_features
from asr.features.sphinx import BANDS, RATE_HZ, log_mels, smooth
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from recipes import DOWNLOADS
from recipes.digits import kokoro
from recipes.digits.prepare import (
    STRINGS,
    WORDS,
    Digit,
    Speaker,
    find_digits,
    list_digits,
    split_digits,
    synthetic_digits,
    write_split,
)

COMMON_BANDS, EDGE_BANDS = 26, slice(25, 28)  # the last bands that recordings at 8 kHz fill
CENSUS_COPIES = 4
SYNTHETIC_STRINGS = 2000
REAL_STRINGS = {**STRINGS, "train": 3000}


def common_bands(mels: np.ndarray) -> np.ndarray:
    """Log-mel bands (F, BANDS) -> (F, COMMON_BANDS), the same for recordings at 8 and 16 kHz."""
    filled = mels.copy()
    filled[:, EDGE_BANDS.stop :] = mels[:, EDGE_BANDS].mean(1, keepdims=True)
    return smooth(filled)[:, :COMMON_BANDS].astype(np.float32)


def neural_digits() -> list[Digit]:
    """The digits in Kokoro's voices, synthesised once."""
    folder = DOWNLOADS / "kokoro"
    return list_digits(folder if folder.exists() else kokoro.synthesise_digits(folder))


def census(root: str | None) -> tuple[list[Utterance], Lexicon]:
    """AN4's training utterances and its dictionary."""
    corpus = corpora.find("an4", root)
    if corpus is None or not (corpus / "an4.dic").exists():
        raise InputError("no AN4 corpus, whose voices join the training: set data.root to a folder with an4/ in it")
    utterances = [u for u in manifest.read(corpus / "manifest.jsonl") if u.extra["split"] == "train"]
    return utterances, Lexicon.read(corpus / "an4.dic")


def with_features(utterances: list[Utterance], out: Path, prefix: str = "") -> Iterator[Utterance]:
    """Store the common bands of each utterance as `out/features/<prefix><id>.npy`."""
    for u in tqdm(utterances, desc="features", unit="utterance"):
        if u.features:
            rng = np.random.default_rng(sum(map(ord, prefix + u.id)))
            mels = another_room(cepstra_to_bands(load_features(u.features), BANDS), rng)
        else:
            mels = log_mels(audio.load(u.audio, sample_rate_hz=RATE_HZ))
        path = out / "features" / f"{prefix}{u.id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            np.save(file, common_bands(mels))
        yield replace(u, id=prefix + u.id, audio=None, features=str(path), text=u.text.upper(), extra={})


def prepare(cfg: Config, speaker: Speaker) -> str:
    """Write manifests, both lexicons and the LM text in `cfg.data.dir`."""
    out, root = Path(cfg.data.dir), cfg.data.root
    digits, source = find_digits(root)
    others, lexicon = census(root)
    splits = split_digits(digits, speaker)
    for seed, (split, chosen) in enumerate(splits.items()):
        write_split(split, REAL_STRINGS[split], chosen, out, np.random.default_rng(seed))
    synthetic = synthetic_digits() + neural_digits()
    write_split("synthetic", SYNTHETIC_STRINGS, synthetic, out, np.random.default_rng(len(splits)))
    made = {name: manifest.read(out / f"{name}.jsonl") for name in (*splits, "synthetic")}
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.transcript.upper() + "\n" for u in made["train"])
    train = [*with_features(made["train"] + made["synthetic"], out)]
    for copy in range(CENSUS_COPIES):
        train += with_features(others, out, f"census{copy}-")
    for split in ("dev", "test"):
        manifest.write(out / f"{split}.jsonl", [*with_features(made[split], out)])
    manifest.write(out / "train.jsonl", train)
    lexicon.write(out / "lexicon.txt")
    words = [word.upper() for word in WORDS]
    Lexicon({word: [p for w, p in lexicon.items() if w == word] for word in words}).write(out / "digits.txt")
    voices = len({u.speaker for u in others})
    return f"{source}, without {speaker}; AN4's {voices} speakers and SYNTHETIC speech in training"
