"""Strings of one to seven English digits: the demo. experiment=unseen leaves a speaker out of the training.

Recordings of single digits are joined, one speaker per string, with random pauses over room noise. A recording is used
in one split only. The single digits come from the corpora folder, else from the public archive, else from espeak-ng's
synthetic voices.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
from tqdm import tqdm

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from asr.data.augment import coloured
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from recipes import DOWNLOADS

WORDS = "zero one two three four five six seven eight nine".split()
RATE_HZ = 16000
SOURCE = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz"
DIGEST = "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0"
TEST_TAKES = range(0, 5)  # the set's own test split
DEV_TAKES = range(5, 9)
Speaker = Annotated[str, "the only speaker of the test set: george, jackson, lucas, nicolas, theo or yweweler"]
STRINGS = {"train": 4000, "dev": 150, "test": 300}
DRAWN_AT_ONCE = 64  # strings in memory
USUALLY = {  # on two idle cores
    "prepare": "30 s, plus the download if no corpora folder is found",
    "train": "2 min, most of the total",
    "lm train": "a second",
    "graph": "2 s",
    "tune": "5 s",
    "calibrate": "2 s",
    "decode": "3 s",
    "score": "a second",
    "bundle": "a second",
    "transcribe": "a second",
}


@dataclass
class Digit:
    path: Path
    word: str
    speaker: str
    take: int


def find_digits(root: str | None) -> tuple[list[Digit], str]:
    """All recordings of single digits, and a sentence that names their source."""
    if folder := corpora.find("fsdd", root):
        return list_digits(folder), f"real speech: Free Spoken Digit Dataset in {folder}"
    try:
        folder = corpora.fetch(SOURCE, DIGEST, DOWNLOADS / "fsdd")
        return list_digits(folder), f"real speech: Free Spoken Digit Dataset, downloaded to {folder}"
    except InputError as e:
        print(e)
    return synthetic_digits(), f"SYNTHETIC speech by espeak-ng in {DOWNLOADS / 'espeak'}: no real digits were found"


def synthetic_digits() -> list[Digit]:
    """The digits in espeak-ng's voices, synthesised once."""
    from recipes.digits.synthesise import synthesise_digits

    folder = DOWNLOADS / "espeak"
    return list_digits(folder if folder.exists() else synthesise_digits(folder, WORDS))


def list_digits(folder: Path) -> list[Digit]:
    """Recordings named `7_jackson_32.wav` or `.flac` anywhere below `folder`."""
    digits = []
    for path in sorted(folder.rglob("*_*_*.*")):
        if match := re.fullmatch(r"(\d)_(\w+)_(\d+)\.(?:wav|flac)", path.name):
            digits.append(Digit(path, WORDS[int(match[1])], match[2], int(match[3])))
    if not digits:
        raise InputError(f"{folder} holds no recordings named like 7_jackson_32.wav")
    return digits


def split_digits(
    digits: Sequence[Digit], held_out: str | None = None, without: str | None = None
) -> dict[str, list[Digit]]:
    """The set's own split by take; with `held_out`, that speaker alone is the test set. `without`: a speaker of no set.

    Raises InputError for a name that is not among the speakers.
    """
    names = {d.speaker for d in digits}
    if unknown := {held_out or "", without or ""} - {"", *names}:
        raise InputError(f"no speaker '{min(unknown)}'; choose one of {sorted(names)}")
    others = [d for d in digits if d.speaker not in (held_out, without)]
    test = [d for d in digits if d.speaker == held_out] if held_out else [d for d in others if d.take in TEST_TAKES]
    dev = [d for d in others if d.take in DEV_TAKES]
    train = [d for d in others if d.take not in DEV_TAKES and (held_out or d.take not in TEST_TAKES)]
    return {"train": train, "dev": dev, "test": test}


def draw_string(chosen: Sequence[np.ndarray], rng: np.random.Generator) -> Callable[[], np.ndarray]:
    """Draw pauses, noise and levels for recordings (T,); returns a function that joins them: () -> (T,) float32."""
    lengths = np.array([len(x) for x in chosen])
    gaps = (RATE_HZ * rng.uniform(-0.03, 0.35, len(chosen))).astype(int)  # below zero two digits overlap
    lead, tail = (int(RATE_HZ * s) for s in rng.uniform(0.1, 0.4, 2))
    starts = lead + np.concatenate([[0], np.cumsum(lengths + gaps)[:-1]])
    white = rng.standard_normal(starts[-1] + lengths[-1] + tail)
    slope, noise_db, level_db = rng.uniform(0, 1), -rng.uniform(15, 40), rng.uniform(-12, 0)

    def join() -> np.ndarray:
        joined = np.zeros(len(white), np.float32)
        for start, x in zip(starts, chosen, strict=True):
            joined[start : start + len(x)] += x
        level = np.sqrt(np.mean(np.concatenate(chosen) ** 2))
        noise = coloured(white, slope) * level * 10 ** (noise_db / 20)
        joined = (joined + noise) * 10 ** (level_db / 20)
        return joined / max(1.0, 1.01 * float(np.abs(joined).max()))

    return join


def write_split(split: str, count: int, digits: Sequence[Digit], out: Path, rng: np.random.Generator) -> None:
    """Join randomly chosen digits to `count` strings: `out/split/*.flac` and `out/split.jsonl`.

    One thread draws everything, so the strings are the same bits for any number of threads that join and write.
    """
    speech = {d.path: audio.load(d.path, sample_rate_hz=RATE_HZ) for d in digits}
    speakers = sorted({d.speaker for d in digits})
    by_speaker = {s: [d for d in digits if d.speaker == s] for s in speakers}
    (out / split).mkdir(parents=True, exist_ok=True)

    def draw(number: int) -> tuple[Utterance, Callable[[], np.ndarray]]:
        speaker = speakers[number % len(speakers)]
        pool = by_speaker[speaker]
        chosen = [pool[i] for i in rng.integers(len(pool), size=rng.integers(1, 8))]
        name, text = f"{split}-{speaker}-{number:04d}", " ".join(d.word for d in chosen)
        utterance = Utterance(name, str(out / split / f"{name}.flac"), text=text, speaker=speaker, lang="en")
        return utterance, draw_string([speech[d.path] for d in chosen], rng)

    def write(drawn: tuple[Utterance, Callable[[], np.ndarray]]) -> Utterance:
        utterance, samples = drawn[0], drawn[1]()
        soundfile.write(utterance.audio, samples, RATE_HZ)
        return replace(utterance, duration_s=round(len(samples) / RATE_HZ, 4))

    utterances: list[Utterance] = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=count, desc=f"{split} strings", unit="string") as bar,
    ):
        for start in range(0, count, DRAWN_AT_ONCE):
            drawn = [draw(number) for number in range(start, min(start + DRAWN_AT_ONCE, count))]
            utterances += threads.map(write, drawn)
            bar.update(len(drawn))
    manifest.write(out / f"{split}.jsonl", utterances)


def prepare(cfg: Config) -> str:
    """Write the strings, `{train,dev,test}.jsonl`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`."""
    return write_sets(cfg, STRINGS)


def write_sets(cfg: Config, strings: Mapping[str, int], held_out: str | None = None, without: str | None = None) -> str:
    """What `prepare` writes, with so many strings of each split. `held_out`: the only speaker of the test set;
    `without`: a speaker of no set."""
    out = Path(cfg.data.dir)
    digits, source = find_digits(cfg.data.root)
    for seed, (split, chosen) in enumerate(split_digits(digits, held_out, without).items()):
        write_split(split, strings[split], chosen, out, np.random.default_rng(seed))
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.transcript + "\n" for u in manifest.read(out / "train.jsonl"))
    Lexicon.cmudict(WORDS).write(out / "lexicon.txt")
    return source


def build(recipe: Recipe) -> None:
    """Build the recogniser, transcribe one test recording with it, and sum up."""
    recipe.build()
    bundle, example = recipe.cfg.bundle, sorted((Path(recipe.cfg.data.dir) / "test").glob("*.flac"))[0]
    recipe("transcribe", bundle, str(example))
    result = recipe.result()
    low, high = result["wer_interval"]
    print(f"\nTrained on {recipe.source}")
    print(f"WER {result['wer']:.2%} (95 % interval {low:.2%} to {high:.2%}) on the test set")
    print(f"The recogniser is one file: {bundle}")
    print(f"Try it on a recording of yours:  asr transcribe {bundle} FILE.wav   (asr is in .venv/bin)")
