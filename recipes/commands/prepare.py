"""Single English words from any list, trained on real and SYNTHETIC speech, tested on Speech Commands.

AN4 consists of cepstra without sound, which are converted back to 40 smooth log-mel bands. All sound goes through the
toolkit's own front end with the same 40 bands, and that front end is recorded, so the bundle takes sound. Training
data gets random rooms, noises and microphones. It contains no test recording, and none of the test words in a
synthetic voice.

It needs `pip install -e '.[voices]'`, and below data.root the corpora an4, prompts_en, libri_en, fsdd, commands_en,
noise, rir and text_en. The voices take half an hour of CPU time, and so does the training. The bundle has no graph, as
each request brings its list: `asr transcribe exp/commands/model.asr FILE graph=word words=list.txt`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config, G2pConfig
from asr.data import corpora
from asr.data.augment import another_room, change_speed, change_tempo
from asr.data.extract import record_path
from asr.errors import InputError
from asr.features import audio, recorded
from asr.features.files import cepstra_to_bands, load_features
from asr.features.frontend import FrontEnd
from asr.features.sphinx import cepstra, smooth
from asr.files import atomic_write
from asr.g2p.pronunciation import pronunciations
from asr.manifest import Utterance
from asr.text.clean import clean
from asr.text.lexicon import Lexicon
from asr.text.spoken import spoken
from recipes import DOWNLOADS
from recipes.commands.voices import ENGINES, WORDS, check_installed, common_words, speak

RATE_HZ = 16000
COPIES = {
    "an4": 2,
    "prompts_en": 2,
    "libri_en": 1,
    "fsdd": 1,
    "noise": 1,
    "kokoro82m": 2,
    "piper": 3,
    "espeak": 1,
}  # of each utterance, each in another room
DEV_SPEAKERS = ("theo", "yweweler")  # of fsdd; the other four are trained on
DIGIT_TAKES = range(5, 25)  # of each digit and speaker: more would be half of all words; takes 0 to 4 are its test set
SPEEDS = (0.87, 1.15)
TELEPHONE_BAND = 26  # the first band above 3.8 kHz
FAINT_DB = -50  # of the noise in clean copies, relative to the speech
Item = tuple[Utterance, np.ndarray]  # with its samples (T,), or bands (F, 40)


class Rooms:
    """Random speeds, rooms, noises and microphones."""

    def __init__(self, root: str | None, frontend: FrontEnd):
        self.frontend = frontend
        self.echoes, self.noises = (
            [audio.load(u.audio or "", sample_rate_hz=RATE_HZ) for u in read(name, root) if u.extra["split"] == "train"]
            for name in ("rir", "noise")
        )

    def hear(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples (T,) or bands (F, 40) -> bands (F', 40) as heard in a room, and the same ones without it, whose
        frames are those of the same speech."""
        speed = rng.uniform(*SPEEDS)
        if x.ndim == 1:
            heard, clean = (bands_of(y, self.frontend) for y in self.in_a_room(change_speed(x, speed), rng))
        else:
            heard = clean = change_tempo(x, speed)
        heard = another_room(heard, rng)
        if rng.random() < 0.5:
            heard = smooth(heard)
        if rng.random() < 0.2:
            heard[:, TELEPHONE_BAND:] = rng.gamma(1, 0.1, heard[:, TELEPHONE_BAND:].shape)
        return heard, clean

    def in_a_room(self, samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Add silence at both ends; in half of the cases echoes, in half of them noise 3 to 25 dB below the speech.
        Also the samples with the silence and faint noise alone."""
        lead, tail = (int(RATE_HZ * s) for s in rng.uniform(0.05, 0.45, 2))
        heard = np.pad(samples, (lead, tail))
        level = np.sqrt(np.mean(samples**2))
        clean = heard + level * 10 ** (FAINT_DB / 20) * rng.standard_normal(len(heard))
        if rng.random() < 0.5:
            echo = self.echoes[rng.integers(len(self.echoes))]
            echo = echo[np.abs(echo).argmax() :]  # from the sound that comes straight, so that frames stay in place
            size = len(heard) + len(echo)
            heard = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(echo, size), size)[: len(heard)]
            heard *= level / np.sqrt(np.mean(heard[lead : lead + len(samples)] ** 2))
        if rng.random() < 0.5:
            noise = self.noises[rng.integers(len(self.noises))]
            noise = np.resize(np.roll(noise, -rng.integers(len(noise))), len(heard))
            heard = heard + noise * level / (noise.std() + 1e-9) * 10 ** (-rng.uniform(3, 25) / 20)
        return heard * 10 ** (rng.uniform(-20, 0) / 20), clean


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, the features in folders of these names, `lexicon.txt` and `lm.txt` in
    `cfg.data.dir`. The features are those of `cfg.features` as kind=logmel.

    `clean/` gets `{train,dev}.jsonl` with the cepstra of the same utterances without rooms, for the HMMs.
    """
    check_installed()
    out, root = Path(cfg.data.dir), cfg.data.root
    features = replace(cfg.features, kind="logmel")
    frontend = FrontEnd(features)
    for split in ("train", "dev", "test"):
        recorded.record(features, record_path(out / f"{split}.jsonl"))
    rooms = Rooms(root, frontend)
    splits: dict[str, list[Utterance]] = {"train": []}
    clean: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for name, count in COPIES.items():
        for u, x in tqdm(training_items(name, root), desc=name, unit="utterance"):
            for copy in range(count):
                named = replace(u, id=f"{name}-{u.id}-{copy}")
                heard, alone = rooms.hear(x, np.random.default_rng([copy, *u.id.encode()]))
                splits["train"].append(store(named, heard, out / "train"))
                clean["train"].append(store(named, cepstra(alone), out / "clean/train"))
    for split, items in untouched(root):
        splits[split] = []
        for u, x in tqdm(items, desc=split, unit="utterance"):
            bands = x if x.ndim == 2 else bands_of(x, frontend)
            splits[split].append(store(u, bands, out / split))
            clean[split].append(store(u, cepstra(bands), out / "clean" / split))
    for split, chosen in splits.items():
        manifest.write(out / f"{split}.jsonl", chosen)
        manifest.write(out / f"clean/{split}.jsonl", clean[split])
    texts = [u.transcript for chosen in splits.values() for u in chosen]
    words = sorted({word for text in texts for word in text.split()})
    an4 = Lexicon.read(folder("an4", root) / "an4.dic").pronunciations
    known = {word: an4[word.upper()] for word in words if word.upper() in an4}
    Lexicon(pronunciations(words, "phone", known, G2pConfig())).write(out / "lexicon.txt")
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.text + "\n" for u in splits["train"] if u.text)
    return (
        "real speech (AN4, prompts_en, libri_en, fsdd) and SYNTHETIC speech (Kokoro, Piper, espeak-ng); "
        "tested on real speech"
    )


def build(recipe: Recipe) -> None:
    """Train HMMs on the clean copies, and a net on those in rooms, whose frames have the same states. Bundle it without
    a graph: each request brings its own list of words."""
    data, out = recipe.cfg.data.dir, recipe.cfg.out
    recipe(
        "hmm train", f"out={out}/hmm", f"data.train={data}/clean/train.jsonl", f"data.dev={data}/clean/dev.jsonl",
        f"tokens.lexicon={data}/lexicon.txt", "features.num_bins=13", "features.deltas=2", "features.cmvn=utterance",
    )  # fmt: skip
    recipe("train")
    recipe("bundle", "graph.kind=none")
    print("The recogniser is one file:", recipe.cfg.bundle)


def training_items(name: str, root: str | None) -> Iterator[Item]:
    """Utterances to train on, with their sound or bands."""
    if name in ENGINES:
        tested = {u.transcript for u in read("commands_en", root)}
        words = common_words(root, WORDS, tested)
        return with_sound(speak(name, words, DOWNLOADS / "commands_voices"))
    chosen = [u for u in read(name, root) if name == "libri_en" or u.extra["split"] == "train"]
    if name == "fsdd":
        chosen = [u for u in chosen if u.speaker not in DEV_SPEAKERS and int(u.id.split("_")[-1]) in DIGIT_TAKES]
    if name == "noise":
        chosen = [replace(u, text="") for u in chosen]  # nothing is said
    return census(chosen) if name == "an4" else with_sound(chosen)


def untouched(root: str | None) -> Iterator[tuple[str, Iterable[Item]]]:
    """The dev and test sets. The test sets of AN4, the prompts and the digits serve as dev here."""
    names = ("an4", "prompts_en", "fsdd")
    an4, prompts, digits = ([u for u in read(name, root) if u.extra["split"] != "train"] for name in names)
    yield "dev", [*census(an4), *with_sound(prompts + [u for u in digits if u.speaker in DEV_SPEAKERS])]
    yield "test", with_sound(read("commands_en", root))


def census(utterances: list[Utterance]) -> Iterator[Item]:
    for u in utterances:
        yield replace(u, text=u.transcript.lower()), cepstra_to_bands(load_features(u.features or ""))


def with_sound(utterances: list[Utterance]) -> Iterator[Item]:
    for u in utterances:
        text = clean(spoken(u.transcript, "en"), "en")
        yield replace(u, text=text), audio.load(u.audio or "", sample_rate_hz=RATE_HZ)


def bands_of(samples: np.ndarray, frontend: FrontEnd) -> np.ndarray:
    """Samples (T,) -> log-mel bands (F, 40), not normalised."""
    x = torch.from_numpy(samples.astype(np.float32))[None]
    return frontend.unnormalised(x, torch.tensor([len(samples)]))[0][0].numpy()


def store(u: Utterance, bands: np.ndarray, folder: Path) -> Utterance:
    path = folder / f"{u.id}.npy"
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
