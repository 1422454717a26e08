"""hama: an English phone recogniser (Apache-2.0) and the model that wrote the pronunciations it was trained on.

The recogniser hears words as that model spells them: "of" as ɔ f, "one" as o n e. Its pronunciations are therefore
the right lexicon, whatever a dictionary says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from asr.features.encoders.json_files import read_json
from asr.features.onnx.file import OnnxFile
from recipes import wheels

HAMA = ("hama==1.3.13", "753ca05c6b3c99f9c8c415776848f84ebb72823f70c11fd46dd7eff5df338dbd")
FILES = ("asr_waveform_fp16.onnx", "g2p_vocab.json", "encoder.onnx", "decoder_step.onnx")
WORDS = 256  # pronounced at once
MOST = 32  # symbols per word, as in the package
UNSPOKEN = {"<pad>", "<sos>", "<unk>", " "}


def fetch_hama() -> Path:
    """The folder with hama's models, downloaded if it is not there."""
    return wheels.fetch(*HAMA, {name: f"hama/assets/{name}" for name in FILES}, "hama")


class Pronouncer:
    """An attention model from letters to IPA symbols, the most probable symbol at each step."""

    def __init__(self, folder: Path):
        tables = read_json(folder / "g2p_vocab.json")
        self.letters = {letter: number for number, letter in enumerate(tables["encoder"])}
        self.symbols: list[str] = tables["decoder"]
        self.encoder, self.decoder = (
            OnnxFile.read(folder / name).session for name in ("encoder.onnx", "decoder_step.onnx")
        )

    def __call__(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The pronunciations of `words`; words without any symbol are left out."""
        found: dict[str, tuple[str, ...]] = {}
        ordered = sorted(words, key=len)  # little padding
        for start in tqdm(range(0, len(ordered), WORDS), desc="pronounce", unit=f" x {WORDS} words"):
            batch = ordered[start : start + WORDS]
            for word, numbers in zip(batch, self._numbers(batch), strict=True):
                found[word] = self._symbols(numbers.tolist())
        return {word: found[word] for word in words if found[word]}

    def _numbers(self, words: Sequence[str]) -> np.ndarray:
        """Output symbols (N, S), ended by <eos>."""
        ids = np.full((len(words), max(map(len, words))), self.letters["<pad>"], np.int64)
        for row, word in zip(ids, words, strict=True):
            row[: len(word)] = [self.letters.get(letter, self.letters["<unk>"]) for letter in word]
        lengths = np.array([len(word) for word in words], np.int64)
        names = ["encoder_outputs", "projected_keys", "encoder_mask", "hidden", "prev_attn"]
        state: dict[str, Any] = dict(
            zip(names, self.encoder.run(names, {"input_ids": ids, "input_lengths": lengths}), strict=True)
        )
        state["positions"] = np.arange(ids.shape[1], dtype=np.float32)[None]
        last = np.full(len(words), self.symbols.index("<sos>"), np.int64)
        steps: list[np.ndarray] = []
        is_ended = np.zeros(len(words), bool)
        while len(steps) < MOST and not is_ended.all():
            last, state["hidden"], state["prev_attn"] = self.decoder.run(
                ["next_token_ids", "hidden_out", "prev_attn_out"], {**state, "decoder_input_ids": last[:, None]}
            )
            steps.append(last)
            is_ended |= last == self.symbols.index("<eos>")
        return np.stack(steps, axis=1)

    def _symbols(self, numbers: Sequence[int]) -> tuple[str, ...]:
        symbols = [self.symbols[number] for number in numbers]
        end = symbols.index("<eos>") if "<eos>" in symbols else len(symbols)
        return tuple(symbol for symbol in symbols[:end] if symbol not in UNSPOKEN)
