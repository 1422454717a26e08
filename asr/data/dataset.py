"""Utterances ready to train on: inputs (T,) or (F, D) beside their tokens, and batches of them.

What an utterance becomes depends on nothing but (seed, epoch, utterance), so any process may load any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from asr.config import Config
from asr.data.augment import change_speed, change_tempo, generator
from asr.errors import InputError
from asr.features import audio
from asr.features.files import load_features
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from asr.text.units import to_units
from asr.tokens import Tokens


@dataclass
class Batch:
    inputs: Tensor  # (N, T) samples or (N, F, D) stored features
    lengths: Tensor  # (N,)
    targets: Tensor  # (N, L) tokens, padded with 0
    target_lengths: Tensor  # (N,)
    ids: list[str]


class Utterances(Dataset):
    """A manifest's utterances; item i is (inputs, tokens, id), or None when it cannot be read, which is told once.

    `speeds` are drawn from for each utterance anew in each `epoch`; leave them empty to hear the recording as it is.
    """

    def __init__(
        self,
        cfg: Config,
        utterances: Sequence[Utterance],
        tokens: Tokens,
        lexicon: Lexicon | None,
        speeds: Sequence[float] = (),
    ):
        self.cfg, self.speeds, self.epoch = cfg, list(speeds), 0
        self.stored = cfg.features.kind == "stored"
        self.utterances = list(utterances)
        self.targets = [
            torch.tensor(tokens.encode(to_units(u.text, cfg.tokens.unit, lexicon)), dtype=torch.int64)
            for u in self.utterances
        ]
        self.cache: dict[int, np.ndarray] = {}
        self.unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def durations_s(self) -> list[float]:
        return [u.duration_s or 0.0 for u in self.utterances]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str] | None:
        if index in self.unreadable:
            return None
        try:
            x = self.load(index)
        except InputError as e:
            self.unreadable.add(index)
            tqdm.write(f"set aside utterance '{self.utterances[index].id}': {e}")
            return None
        if self.speeds:
            rng = generator(self.cfg.seed, self.epoch, index)
            speed = self.speeds[rng.integers(len(self.speeds))]
            x = change_tempo(x, speed) if self.stored else change_speed(x, speed)
        return torch.from_numpy(x), self.targets[index], self.utterances[index].id

    def load(self, index: int) -> np.ndarray:
        """Samples (T,) or stored features (F, D), float32, through the cache, which keeps samples as 16 bits."""
        if index not in self.cache:
            x = load_input(self.cfg, self.utterances[index])
            if not self.cfg.data.cache or self.cfg.data.workers:  # a worker's memory ends with the epoch
                return x
            self.cache[index] = x if self.stored else np.clip(x * 32768, -32768, 32767).round().astype(np.int16)
        x = self.cache[index]
        return x if self.stored else x.astype(np.float32) / 32768


def load_input(cfg: Config, utterance: Utterance) -> np.ndarray:
    """Samples (T,) float32 in [-1, 1] or stored features (F, D) of one utterance, as the configuration asks."""
    if cfg.features.kind == "stored":
        if utterance.features is None:
            raise InputError(f"utterance '{utterance.id}' has no stored features; set features.kind or extract them")
        return load_features(utterance.features, cfg.features.num_bins)
    if utterance.audio is None:
        raise InputError(f"utterance '{utterance.id}' has no audio; for stored features set features=stored")
    return audio.load(
        utterance.audio, utterance.start_s, utterance.duration_s, cfg.features.sample_rate_hz, cfg.data.max_audio_s
    )


def collate(items: Sequence[tuple[Tensor, Tensor, str] | None]) -> Batch | None:
    """A batch of the items that could be read; None when none could."""
    readable = [item for item in items if item is not None]
    if not readable:
        return None
    inputs, targets, ids = zip(*readable, strict=True)
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        pad(list(inputs), batch_first=True),
        torch.tensor([len(x) for x in inputs]),
        pad(list(targets), batch_first=True),
        torch.tensor([len(t) for t in targets]),
        list(ids),
    )
