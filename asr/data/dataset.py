"""Utterances as training reads them: inputs (T,) or (F, D) with their tokens, and batches of them.

An item depends only on (seed, epoch, utterance), so any process may load any item.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asr.config import Config
from asr.data.augment import change_speed, change_tempo, generator
from asr.data.cache import InputCache
from asr.errors import InputError
from asr.features import audio
from asr.features.files import load_features
from asr.manifest import Utterance

SPARE = 1.01  # size of a cache slot by the utterance's duration, which a manifest may round


@dataclass
class Unreadable:
    """An utterance that could not be loaded, and why."""

    id: str
    reason: str


Item = tuple[Tensor, Tensor, str]  # input (T,) or (F, D), tokens (L,), id


@dataclass
class Batch:
    inputs: Tensor  # (N, T) samples or (N, F, D) stored features
    lengths: Tensor  # (N,)
    targets: Tensor  # (N, L) tokens, padded with 0
    target_lengths: Tensor  # (N,)
    ids: list[str]
    unreadable: list[Unreadable]  # left out


class Utterances(Dataset):
    """The utterances of a manifest; item i is (input, tokens, id), or `Unreadable`.

    `targets`: the tokens of each utterance. One of `speeds` is drawn for each utterance in each `epoch`; without speeds
    the input is not changed.
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
        self.cache = self.make_cache() if cfg.data.cache and not cfg.data.workers else None

    def make_cache(self) -> InputCache:
        """Room for every input: samples as 16-bit integers, stored features as float32."""
        features = self.cfg.features
        rate_hz = 1000 / features.shift_ms if self.stored else features.sample_rate_hz
        width = features.num_bins if self.stored else 1
        sizes = [math.ceil(SPARE * duration_s * rate_hz + 1) * width for duration_s in self.durations_s]
        try:
            return InputCache(sizes, np.float32 if self.stored else np.int16)
        except OSError as e:
            gigabytes = sum(sizes) * (4 if self.stored else 2) / 2**30
            raise InputError(
                f"keeping the inputs of {len(sizes)} utterances in memory needs {gigabytes:.0f} GiB ({e.strerror}); "
                "set data.cache=false"
            ) from None

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def durations_s(self) -> list[float]:
        return [u.duration_s or 0.0 for u in self.utterances]

    def __getitem__(self, index: int) -> Item | Unreadable:
        id = self.utterances[index].id
        try:
            x = self.load(index)
        except InputError as e:
            return Unreadable(id, str(e))
        if self.speeds:
            rng = generator(self.cfg.seed, self.epoch, index)
            speed = self.speeds[rng.integers(len(self.speeds))]
            x = change_tempo(x, speed) if self.stored else change_speed(x, speed)
        return torch.from_numpy(x), self.targets[index], id

    def load(self, index: int) -> np.ndarray:
        """Samples (T,) or stored features (F, D), float32, from the cache or from the file."""
        if self.cache is None:
            return load_input(self.cfg, self.utterances[index])
        kept = self.cache.get(index)
        if kept is None:
            x = load_input(self.cfg, self.utterances[index])
            kept = x.ravel() if self.stored else np.clip(x * 32768, -32768, 32767).round().astype(np.int16)
            self.cache.put(index, kept)
        return kept.reshape(-1, self.cfg.features.num_bins) if self.stored else kept.astype(np.float32) / 32768


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
    channel = cfg.data.channel if utterance.channel is None else utterance.channel
    rate_hz, limit_s = cfg.features.sample_rate_hz, cfg.data.max_audio_s
    return audio.load(utterance.audio, utterance.start_s, utterance.duration_s, rate_hz, limit_s, channel)


def collate(items: Sequence[Item | Unreadable]) -> Batch:
    """A batch of the items that could be read."""
    readable = [item for item in items if not isinstance(item, Unreadable)]
    inputs, targets, ids = zip(*readable, strict=True) if readable else ((), (), ())
    return Batch(
        _padded(inputs),
        torch.tensor([len(x) for x in inputs], dtype=torch.int64),
        _padded(targets),
        torch.tensor([len(t) for t in targets], dtype=torch.int64),
        list(ids),
        [item for item in items if isinstance(item, Unreadable)],
    )


def _padded(tensors: Sequence[Tensor]) -> Tensor:
    """(N, longest, ...), padded with 0; (0,) for no tensors."""
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True) if tensors else torch.empty(0)
