"""The utterances that HMMs are trained on: features, words, and their pronunciations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.features.frontend import FrontEnd
from asr.text.lexicon import Lexicon


@dataclass(frozen=True)
class Corpus:
    """N utterances with F frames in all. `own`: the first so many are those of data.train, the others of data.dev."""

    ids: list[str]
    words: list[list[str]]
    first: np.ndarray  # (N + 1,) first frame of each utterance, then F
    features: Tensor  # (F, D) float32
    own: int

    def frames(self, number: int) -> Tensor:
        """The features (f, D) of an utterance."""
        return self.features[self.first[number] : self.first[number + 1]]


def load(cfg: Config, frontend: FrontEnd, lexicon: Lexicon, aside: dict[str, str]) -> Corpus:
    """The utterances of data.train and data.dev; `aside` gets the reason for each that cannot be used.

    Normalisation over the corpus is fitted to data.train. Raises InputError if that has no usable utterance.
    """
    found: dict[str, list[tuple[str, list[str], Tensor]]] = {}
    for split in ("train", "dev"):
        utterances = tqdm(manifest.read(getattr(cfg.data, split)), split, delay=2, leave=False)
        found[split] = [u for u in (_read(cfg, u, lexicon, aside) for u in utterances) if u]
        if not found["train"]:
            raise InputError(f"{cfg.data.train}: 0 usable utterances; the first fault is {next(iter(aside.items()))}")
    if cfg.features.cmvn in ("global", "causal"):
        for _, _, x in found["train"]:
            frontend.accumulate_stats(x[None], torch.tensor([len(x)]))
    read = found["train"] + found["dev"]
    features = [frontend(x[None], torch.tensor([len(x)]))[0][0] for _, _, x in read]
    first = np.cumsum([0, *map(len, features)])
    return Corpus([id for id, _, _ in read], [words for _, words, _ in read], first, torch.cat(features),
                  len(found["train"]))  # fmt: skip


def _read(
    cfg: Config, utterance: manifest.Utterance, lexicon: Lexicon, aside: dict[str, str]
) -> tuple[str, list[str], Tensor] | None:
    """Id, words and input of an utterance; None, with a reason in `aside`, if it cannot be used."""
    try:
        if (utterance.duration_s or 0.0) > cfg.data.max_audio_s:
            raise InputError(f"{utterance.duration_s:.1f} s is longer than data.max_audio_s={cfg.data.max_audio_s:g}")
        words = utterance.transcript.split()
        if missing := [word for word in words if word not in lexicon]:
            raise InputError(f"not in the lexicon: {', '.join(missing)}")
        return utterance.id, words, torch.from_numpy(load_input(cfg, utterance))
    except InputError as e:
        aside[utterance.id] = str(e)
        return None


def phones_of(words: Sequence[Sequence[str]], lexicon: Lexicon) -> list[str]:
    """The phones of all pronunciations of the words, sorted."""
    spoken = {word for text in words for word in text}
    return sorted({unit for word in spoken for units in lexicon.pronunciations[word] for unit in units})
