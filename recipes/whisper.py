"""Whisper as a teacher: its own transcripts of English recordings, by CTranslate2 (`pip install ctranslate2`).

teacher = Whisper(folder)
text, confidence = teacher.transcribe(samples)
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr.errors import InputError
from asr.features.encoders import open_encoder
from asr.lm.attention.pieces import CHARACTERS, beginning

RATE_HZ = 16000
WINDOW_S = 30  # what Whisper's decoder was trained on; shorter recordings are followed by silence
BEAM = 5


class Whisper:
    """The model in a folder of CTranslate2. Raises InputError if the package or a file is missing."""

    def __init__(self, folder: Path):
        try:
            import ctranslate2
        except ImportError:
            raise InputError("Whisper transcribes with the package ctranslate2: pip install ctranslate2") from None
        self._translate: Any = ctranslate2
        self._model = ctranslate2.models.Whisper(str(folder), compute_type="int8", intra_threads=1)
        self._encoder: Any = open_encoder(str(folder))  # for its spectrum

    def transcribe(self, samples: np.ndarray) -> tuple[str, float]:
        """(T,) at 16 kHz -> the text and the geometric mean of its tokens' probabilities.

        Raises ValueError for more than `WINDOW_S`.
        """
        padded = np.zeros(WINDOW_S * RATE_HZ, np.float32)
        padded[: len(samples)] = samples
        spectrum = self._encoder.log_mel(torch.from_numpy(padded))[None].contiguous().numpy()  # (1, bands, 3000)
        view = self._translate.StorageView.from_array(spectrum)
        found = self._model.generate(view, [beginning("en")], beam_size=BEAM, return_scores=True)[0]
        return text_of(found.sequences[0]), math.exp(found.scores[0])


def text_of(tokens: list[str]) -> str:
    """Tokens of GPT-2's byte-level vocabulary -> text; marks such as `<|endoftext|>` are left out."""
    characters = "".join(token for token in tokens if not token.startswith("<|"))
    return bytes(_BYTES[c] for c in characters).decode(errors="replace").strip()


_BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}
