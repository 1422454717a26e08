"""A recogniser of tones, each of which is a letter, and speech for it whose boundaries are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from onnx_writer import FLOAT, INT64, model, node, place, tensor

RATE_HZ, FRAME = 16000, 320
LETTERS = "abcdefghij"
BLANK_LOGIT, GAIN, LEVEL = 4.0, 0.004, 0.3


def frequency_hz(letter: str) -> float:
    return 300.0 + 150.0 * LETTERS.index(letter)


def net() -> bytes:
    """Samples (N, T) -> log-probs (N, F, V) of blank and letters, by the energy of each tone in frames of 20 ms."""
    time_s = np.arange(FRAME) / RATE_HZ
    waves = [wave(2 * np.pi * frequency_hz(letter) * time_s) for letter in LETTERS for wave in (np.sin, np.cos)]
    energies = np.zeros((1 + len(LETTERS), 2 * len(LETTERS), 1), np.float32)
    for number in range(len(LETTERS)):
        energies[1 + number, 2 * number : 2 * number + 2] = GAIN
    bias = np.array([BLANK_LOGIT, *[0.0] * len(LETTERS)], np.float32)
    nodes = [
        node("Unsqueeze", ["samples", "one"], ["wave"]),
        node("Conv", ["wave", "waves"], ["parts"], strides=[FRAME]),
        node("Mul", ["parts", "parts"], ["squares"]),
        node("Conv", ["squares", "energies", "bias"], ["scores"]),
        node("Transpose", ["scores"], ["logits"], perm=[0, 2, 1]),
        node("LogSoftmax", ["logits"], ["log_probs"], axis=2),
        node("Div", ["count", "stride"], ["frames"]),
    ]
    tensors = [
        tensor("one", np.array([1], np.int64)),
        tensor("waves", np.array(waves, np.float32)[:, None]),
        tensor("energies", energies),
        tensor("bias", bias),
        tensor("stride", np.array(FRAME, np.int64)),
    ]
    inputs = [place("samples", ("n", "t")), place("count", ("n",), INT64)]
    outputs = [place("log_probs", ("n", "f", 1 + len(LETTERS)), FLOAT), place("frames", ("n",), INT64)]
    return model(nodes, inputs, outputs, tensors)


def write_model(folder: Path) -> Path:
    """The description of the net for `asr import`."""
    (folder / "tones.onnx").write_bytes(net())
    description = {
        "model": "tones.onnx", "input": "samples", "lengths": "count", "output": "log_probs", "shift_ms": 20,
        "tokens": ["<blank>", *LETTERS], "blank": "<blank>", "unit": "char",
    }  # fmt: skip
    (folder / "tones.yaml").write_text(yaml.safe_dump(description))
    return folder / "tones.yaml"


@dataclass
class Said:
    """Samples (T,), and the words with the times (s) of their sound."""

    samples: np.ndarray
    words: list[tuple[str, float, float]]

    @property
    def text(self) -> str:
        return " ".join(word for word, _, _ in self.words)


def say(words: list[str], rng: np.random.Generator, pause_s: tuple[float, float] = (0.2, 0.4)) -> Said:
    """Words with pauses around them. A letter lasts 80 to 120 ms; two equal ones have 60 ms between them."""
    parts, times, at = [], [], 0

    def add(samples: np.ndarray) -> None:
        nonlocal at
        parts.append(samples)
        at += len(samples)

    def quiet(seconds: float) -> None:
        add(np.zeros(round(seconds * RATE_HZ)))

    for word in words:
        quiet(rng.uniform(*pause_s))
        start = at
        for number, letter in enumerate(word):
            if number and word[number - 1] == letter:
                quiet(0.06)
            time_s = np.arange(round(rng.uniform(0.08, 0.12) * RATE_HZ)) / RATE_HZ
            add(LEVEL * np.sin(2 * np.pi * frequency_hz(letter) * time_s))
        times.append((word, start / RATE_HZ, at / RATE_HZ))
    quiet(rng.uniform(*pause_s))
    samples = np.concatenate(parts) + 1e-4 * rng.standard_normal(at)
    return Said(samples.astype(np.float32), times)


def new_words(count: int, rng: np.random.Generator) -> list[str]:
    return ["".join(rng.choice(list(LETTERS), rng.integers(2, 6))) for _ in range(count)]
