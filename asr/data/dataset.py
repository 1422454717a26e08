"""Utterances as training reads them: inputs (T,) or (F, D) with their tokens, and batches of them.

An item depends only on (seed, epoch, utterance), so any process may load any item.
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


@dataclass
class Batch:
    inputs: Tensor  # (N, T) samples or (N, F, D) stored features
    lengths: Tensor  # (N,)
    targets: Tensor  # (N, L) tokens, padded with 0
    target_lengths: Tensor  # (N,)
    ids: list[str]


class Utterances(Dataset):
    """Item i is (inputs, target tokens, id), or None if the utterance cannot be read, which is reported once.

    `targets`: the tokens of each utterance. `speeds`: one is drawn for each utterance in each `epoch`; empty means no
    speed perturbation.
    """

    def __init__(
        self,
        cfg: Config,
        utterances: Sequence[Utterance],
        targets: Sequence[list[int]],
        speeds: Sequence[float] = (),
    ):
        self.cfg, self.speeds, self.epoch = cfg, list(speeds), 0
        self.stored = cfg.features.kind == "stored"
        self.utterances = list(utterances)
        self.targets = [torch.tensor(target, dtype=torch.int64) for target in targets]
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
            tqdm.write(f"utterance '{self.utterances[index].id}' set aside: {e}")
            return None
        if self.speeds:
            rng = generator(self.cfg.seed, self.epoch, index)
            speed = self.speeds[rng.integers(len(self.speeds))]
            x = change_tempo(x, speed) if self.stored else change_speed(x, speed)
        return torch.from_numpy(x), self.targets[index], self.utterances[index].id

    def load(self, index: int) -> np.ndarray:
        """Samples (T,) or stored features (F, D), float32. The cache keeps samples as 16-bit integers."""
        if index not in self.cache:
            x = load_input(self.cfg, self.utterances[index])
            if not self.cfg.data.cache or self.cfg.data.workers:  # a worker process ends with the epoch
                return x
            self.cache[index] = x if self.stored else np.clip(x * 32768, -32768, 32767).round().astype(np.int16)
        x = self.cache[index]
        return x if self.stored else x.astype(np.float32) / 32768


def load_input(cfg: Config, utterance: Utterance) -> np.ndarray:
    """Samples (T,) float32 in [-1, 1], or stored features (F, D) if features.kind=stored.

    Raises InputError naming an utterance that has no such input, or whose file cannot be read.
    """
    if cfg.features.kind == "stored":
        if utterance.features is None:
            raise InputError(
                f"utterance '{utterance.id}' has no stored features; run `asr features` or change features.kind"
            )
        return load_features(utterance.features, cfg.features.num_bins)
    if utterance.audio is None:
        raise InputError(f"utterance '{utterance.id}' has no audio; set features=stored to use its stored features")
    return audio.load(
        utterance.audio, utterance.start_s, utterance.duration_s, cfg.features.sample_rate_hz, cfg.data.max_audio_s
    )


def collate(items: Sequence[tuple[Tensor, Tensor, str] | None]) -> Batch | None:
    """A batch of the readable items; None if there is none."""
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
