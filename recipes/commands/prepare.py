"""English phones for words out of any list: AN4, prompts and SYNTHETIC words to train on, Speech Commands to test on.

AN4 comes as cepstra without sound, which are taken back to 40 smooth log-mel bands; all sound goes through the
toolkit's own front end with the same 40 bands. What is trained on is heard as if in rooms, with noise and microphones
that are drawn; none of the recordings tested on, nor their words in synthetic voices, are among it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from voices import ENGINES, WORDS, common_words, speak

from asr import manifest
from asr.config import FeaturesConfig, G2pConfig
from asr.data import corpora
from asr.data.augment import another_room
from asr.errors import InputError
from asr.features import audio
from asr.features.files import cepstra_to_bands, load_features
from asr.features.frontend import FrontEnd
from asr.features.sphinx import smooth
from asr.files import atomic_write
from asr.g2p.pronunciation import pronunciations
from asr.manifest import Utterance
from asr.text.clean import clean
from asr.text.lexicon import Lexicon
from asr.text.spoken import spoken

RATE_HZ = 16000
COPIES = {"an4": 2, "prompts_en": 2, "noise": 1, "piper": 3, "espeak": 1}  # of each utterance, each in its own room
TELEPHONE_BAND = 26  # the first band above 3.8 kHz
Item = tuple[Utterance, np.ndarray]  # with its samples (T,), or bands (F, 40)


class Rooms:
    """Draws rooms, noises and microphones: `hear(samples (T,) or bands (F, 40)) -> bands (F', 40)`."""

    def __init__(self, root: str | None, frontend: FrontEnd):
        self.frontend = frontend
        self.echoes, self.noises = (
            [audio.load(u.audio, sample_rate_hz=RATE_HZ) for u in read(name, root) if u.extra["split"] == "train"]
            for name in ("rir", "noise")
        )

    def hear(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.ndim == 1:
            x = bands_of(self.in_a_room(x, rng), self.frontend)
        x = another_room(x, rng)
        if rng.random() < 0.5:
            x = smooth(x)
        if rng.random() < 0.2:
            x[:, TELEPHONE_BAND:] = rng.gamma(1, 0.1, x[:, TELEPHONE_BAND:].shape)
        return x

    def in_a_room(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """With silence around it, in half of the cases echoes, in half of them noise 3 to 25 dB below the speech."""
        lead, tail = (int(RATE_HZ * s) for s in rng.uniform(0.05, 0.45, 2))
        heard = np.pad(samples, (lead, tail))
        level = np.sqrt(np.mean(samples**2))
        if rng.random() < 0.5:
            echo = self.echoes[rng.integers(len(self.echoes))]
            size = len(heard) + len(echo)
            heard = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(echo, size), size)[: len(heard)]
            heard *= level / np.sqrt(np.mean(heard[lead : lead + len(samples)] ** 2))
        if rng.random() < 0.5:
            noise = self.noises[rng.integers(len(self.noises))]
            noise = np.resize(np.roll(noise, -rng.integers(len(noise))), len(heard))
            heard = heard + noise * level / (noise.std() + 1e-9) * 10 ** (-rng.uniform(3, 25) / 20)
        return heard * 10 ** (rng.uniform(-20, 0) / 20)


def prepare(out: Path, root: str | None, features: FeaturesConfig, cache: Path = Path("data")) -> None:
    """Write `out/{train,dev,test}.jsonl`, `out/features/*.npy`, `out/lexicon.txt` and `out/lm.txt`."""
    (out / "features").mkdir(parents=True, exist_ok=True)
    frontend = FrontEnd(replace(features, kind="logmel"))
    rooms = Rooms(root, frontend)
    splits: dict[str, list[Utterance]] = {"train": []}
    for name, count in COPIES.items():
        for u, x in tqdm(training_items(name, root, cache), desc=name, unit="utterance"):
            for copy in range(count):
                heard = rooms.hear(x, np.random.default_rng([copy, *u.id.encode()]))
                splits["train"].append(store(replace(u, id=f"{name}-{u.id}-{copy}"), heard, out))
    for split, items in untouched(root):
        splits[split] = [
            store(u, x if x.ndim == 2 else bands_of(x, frontend), out)
            for u, x in tqdm(items, desc=split, unit="utterance")
        ]
    for split, chosen in splits.items():
        manifest.write(out / f"{split}.jsonl", chosen)
    texts = [u.text for chosen in splits.values() for u in chosen]
    words = sorted({word for text in texts for word in text.split()})
    an4 = Lexicon.read(folder("an4", root) / "an4.dic").pronunciations
    known = {word: an4[word.upper()] for word in words if word.upper() in an4}
    Lexicon(pronunciations(words, "phone", known, G2pConfig())).write(out / "lexicon.txt")
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.text + "\n" for u in splits["train"] if u.text)
    print({split: len(chosen) for split, chosen in splits.items()}, "utterances in", out)


def training_items(name: str, root: str | None, cache: Path) -> Iterator[Item]:
    if name in ENGINES:
        tested = {u.text for u in read("commands_en", root)}
        words = common_words(root, WORDS, tested)
        return with_sound(speak(name, words, cache / "commands_voices"))
    chosen = [u for u in read(name, root) if u.extra["split"] == "train"]
    return census(chosen) if name == "an4" else with_sound(chosen)


def untouched(root: str | None) -> Iterator[tuple[str, Iterable[Item]]]:
    """The sets to choose and to measure by. The test sets of AN4, the prompts and the digits are dev here."""
    names = ("an4", "prompts_en", "fsdd")
    an4, *others = ([u for u in read(name, root) if u.extra["split"] != "train"] for name in names)
    yield "dev", [*census(an4), *with_sound(sum(others, []))]
    yield "test", with_sound(read("commands_en", root))


def census(utterances: list[Utterance]) -> Iterator[Item]:
    for u in utterances:
        yield replace(u, text=u.text.lower()), cepstra_to_bands(load_features(u.features or ""))


def with_sound(utterances: list[Utterance]) -> Iterator[Item]:
    for u in utterances:
        text = clean(spoken(u.text, "en"), "en")
        yield replace(u, text=text), audio.load(u.audio or "", sample_rate_hz=RATE_HZ)


def bands_of(samples: np.ndarray, frontend: FrontEnd) -> np.ndarray:
    """Samples (T,) -> log-mel bands (F, 40), not normalised."""
    x = torch.from_numpy(samples.astype(np.float32))[None]
    return frontend.unnormalised(x, torch.tensor([len(samples)]))[0][0].numpy()


def store(u: Utterance, bands: np.ndarray, out: Path) -> Utterance:
    path = out / "features" / f"{u.id}.npy"
    with atomic_write(path, "wb") as file:
        np.save(file, bands.astype(np.float32))
    seconds = len(bands) / 100
    return replace(u, audio=None, features=str(path), start_s=0.0, duration_s=seconds, extra={})


def read(name: str, root: str | None) -> list[Utterance]:
    return manifest.read(folder(name, root) / "manifest.jsonl")


def folder(name: str, root: str | None) -> Path:
    found = corpora.find(name, root)
    if found is None:
        raise InputError(f"no corpus {name}: set data.root to a folder that holds {name}/manifest.jsonl")
    return found
