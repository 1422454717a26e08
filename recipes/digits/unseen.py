"""Training for a speaker left out. Five voices are too few, so two more sources join them, in the training alone:

AN4, whose 74 speakers say digits among other things, and SYNTHETIC digits by espeak-ng and Kokoro. Of AN4 there are
only Sphinx's cepstra, so all recordings are brought into their form: 40 log-mel bands with Sphinx's front end, smoothed
by 13 cosines. Of these the 26 bands below the 4 kHz of the digits' recordings are kept. AN4 is clean and from one
microphone; each copy of an utterance gets noise and a microphone's curve of its own.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import kokoro
import numpy as np
from prepare import STRINGS, WORDS, Digit, find_digits, list_digits, split_digits, synthetic_digits, write_split
from tqdm import tqdm

from asr import manifest
from asr.data import corpora
from asr.data.augment import another_room
from asr.errors import InputError
from asr.features import audio
from asr.features.files import cepstra_to_bands, load_features
from asr.features.sphinx import BANDS, RATE_HZ, log_mels, smooth
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon

COMMON_BANDS, EDGE_BANDS = 26, slice(25, 28)  # the last bands that recordings at 8 kHz fill
CENSUS_COPIES = 4
SYNTHETIC_STRINGS = 2000
REAL_STRINGS = {**STRINGS, "train": 3000}


def common_bands(mels: np.ndarray) -> np.ndarray:
    """Log-mel bands (F, BANDS) -> (F, COMMON_BANDS), the same for recordings at 8 and 16 kHz."""
    filled = mels.copy()
    filled[:, EDGE_BANDS.stop :] = mels[:, EDGE_BANDS].mean(1, keepdims=True)
    return smooth(filled)[:, :COMMON_BANDS].astype(np.float32)


def neural_digits(cache: Path) -> list[Digit]:
    """The digits in Kokoro's voices, spoken once."""
    folder = cache / "kokoro"
    return list_digits(folder if folder.exists() else kokoro.synthesise_digits(folder))


def census(root: str | None) -> tuple[list[Utterance], Lexicon]:
    """AN4's training utterances and its dictionary."""
    corpus = corpora.find("an4", root)
    if corpus is None or not (corpus / "an4.dic").exists():
        raise InputError("no AN4 corpus, whose voices join the training: set data.root to a folder with an4/ in it")
    utterances = [u for u in manifest.read(corpus / "manifest.jsonl") if u.extra["split"] == "train"]
    return utterances, Lexicon.read(corpus / "an4.dic")


def with_features(utterances: list[Utterance], out: Path, prefix: str = "") -> Iterator[Utterance]:
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


def prepare_unseen(out: Path, root: str | None, held_out: str, cache: Path = Path("data")) -> str:
    """Write manifests, both lexicons and LM text below `out`; returns the sentence on the source. Done once."""
    done = out / "source.json"
    if done.exists():
        return json.loads(done.read_text())
    digits, source = find_digits(root, cache)
    others, lexicon = census(root)
    splits = split_digits(digits, held_out)
    for seed, (split, chosen) in enumerate(splits.items()):
        write_split(split, REAL_STRINGS[split], chosen, out, np.random.default_rng(seed))
    synthetic = synthetic_digits(cache) + neural_digits(cache)
    write_split("synthetic", SYNTHETIC_STRINGS, synthetic, out, np.random.default_rng(len(splits)))
    made = {name: manifest.read(out / f"{name}.jsonl") for name in (*splits, "synthetic")}
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.text.upper() + "\n" for u in made["train"])
    train = [*with_features(made["train"] + made["synthetic"], out)]
    for copy in range(CENSUS_COPIES):
        train += with_features(others, out, f"census{copy}-")
    for split in ("dev", "test"):
        manifest.write(out / f"{split}.jsonl", [*with_features(made[split], out)])
    manifest.write(out / "train.jsonl", train)
    lexicon.write(out / "lexicon.txt")
    words = [word.upper() for word in WORDS]
    Lexicon({word: [p for w, p in lexicon.items() if w == word] for word in words}).write(out / "digits.txt")
    source += (
        f", without {held_out}; AN4's {len({u.speaker for u in others})} speakers and SYNTHETIC speech in training"
    )
    with atomic_write(done) as file:
        json.dump(source, file)
    return source
