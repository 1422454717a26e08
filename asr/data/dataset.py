"""Utterances as training reads them: inputs (T,) or (F, D) with their tokens, and batches of them.

An item depends only on (seed, epoch, utterance), so any process may load any item.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asr.config import AugmentConfig, Config
from asr.data.augment import change_bands, change_sound, change_speed, change_tempo, generator
from asr.data.batching import epoch_batches, shard_batches
from asr.data.cache import InputCache
from asr.data.scenes.scene import Scene, has_scenes
from asr.errors import InputError
from asr.features import audio
from asr.features.cmvn import OF_SPEECH
from asr.features.files import load_features
from asr.manifest import Utterance
from asr.members import member_of, read_ahead
from asr.tokens import min_frames

SPARE = 1.01  # size of a cache slot by the utterance's duration, which a manifest may round


@dataclass
class Unreadable:
    """An utterance that could not be loaded, and why."""

    id: str
    reason: str


Item = tuple[Tensor, Tensor, str, str]  # input (T,) or (F, D), tokens (L,), id, text


@dataclass
class Batch:
    inputs: Tensor  # (N, T) samples or (N, F, D) stored features
    lengths: Tensor  # (N,)
    targets: Tensor  # (N, L) tokens, padded with 0
    target_lengths: Tensor  # (N,)
    ids: list[str]
    texts: list[str]  # "" where a silence has taken the place of the words
    unreadable: list[Unreadable]  # left out

    def pin_memory(self) -> "Batch":
        """In memory from which a GPU copies while it computes; the DataLoader calls it."""
        return replace(self, inputs=self.inputs.pin_memory(), lengths=self.lengths.pin_memory())


class Utterances(Dataset):
    """The utterances of a manifest; item i is (input, tokens, id, text), or `Unreadable`.

    `targets`: the tokens of each utterance. `augment`: speeds, silences, levels and scenes are drawn anew for each
    utterance in each `epoch`; None leaves the input as it is. Raises InputError for scenes that cannot be drawn.
    """

    def __init__(
        self,
        cfg: Config,
        utterances: Sequence[Utterance],
        targets: Sequence[list[int]],
        augment: AugmentConfig | None = None,
    ):
        self.cfg, self.augment, self.epoch = cfg, augment, 0
        self.stored = cfg.features.kind == "stored"
        self.in_shards = bool(utterances) and all(member_of(u.audio or "") for u in utterances)
        self.rate_hz = 1000 / cfg.features.shift_ms if self.stored else cfg.features.sample_rate_hz  # of the inputs
        self.utterances = list(utterances)
        self.targets = [torch.tensor(target, dtype=torch.int64) for target in targets]
        self.cache = self.make_cache() if cfg.data.cache and not cfg.data.workers else None
        rate_hz = cfg.features.sample_rate_hz
        self.scene = Scene(augment, rate_hz, self.voice) if augment and has_scenes(augment) else None

    def __getstate__(self) -> dict[str, Any]:
        """For a process on another machine, which keeps inputs itself."""
        return vars(self) | {"cache": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.cache = self.make_cache() if self.cfg.data.cache and not self.cfg.data.workers else None

    def make_cache(self) -> InputCache:
        """Room for every input: samples as 16-bit integers, stored features as float32."""
        features = self.cfg.features
        width = features.num_bins if self.stored else 1
        sizes = [math.ceil(SPARE * duration_s * self.rate_hz + 1) * width for duration_s in self.durations_s]
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

    def batches(
        self, seed: int, epoch: int, parts: int, numbers: Sequence[int] | None = None, is_sorted: bool = False
    ) -> list[list[int]]:
        """An epoch in batches of `optim.batch_s` that are computed in so many parts: all utterances, or those of
        `numbers`. Those of shards come in about the order of the shards."""
        chosen, batch_s = range(len(self)) if numbers is None else numbers, self.cfg.optim.batch_s
        durations_s = [self.utterances[i].duration_s or 0.0 for i in chosen]
        if self.in_shards:
            members = [found for i in chosen if (found := member_of(self.utterances[i].audio or ""))]
            batches = shard_batches(durations_s, members, batch_s, seed, epoch, parts, is_sorted)
        else:
            batches = epoch_batches(durations_s, batch_s, seed, epoch, is_sorted)
        return [[chosen[i] for i in batch] for batch in batches]

    def __getitem__(self, index: int) -> Item | Unreadable:
        id = self.utterances[index].id
        try:
            x = self.load(index)
        except InputError as e:
            return Unreadable(id, str(e))
        target, text = self.targets[index], self.utterances[index].text or ""
        if self.augment:
            rng = generator(self.cfg.seed, self.epoch, index)
            x, has_words = self.change(x, self.augment, rng, self.speeds(len(x), target.tolist()))
            target, text = (target, text) if has_words else (target[:0], "")
        return torch.from_numpy(x), target, id, text

    def speeds(self, length: int, target: list[int]) -> list[float]:
        """The speeds of `augment.speeds` that leave enough frames for the target, or the slowest."""
        assert self.augment
        features, rate = self.cfg.features, self.rate_hz / 1000
        needed = 1 if self.cfg.criterion.alignments else min_frames(target)
        frames = 1 + (needed - 1) * self.cfg.model.subsampling
        least = 1 + (frames if self.stored else (features.window_ms + (frames - 1) * features.shift_ms) * rate)
        fitting = [speed for speed in self.augment.speeds if length / speed >= least]
        return fitting or sorted(self.augment.speeds)[:1]

    def change(
        self, x: np.ndarray, cfg: AugmentConfig, rng: np.random.Generator, speeds: list[float]
    ) -> tuple[np.ndarray, bool]:
        """The input with a speed drawn of `speeds`, silences and level, and whether its words are still there.

        Silence comes after a quarter of the epochs: a net that does not know the words yet would hardly find them in
        it. Stored features get silence if features.cmvn takes them for log energies; their level is not changed.
        """
        if speeds:
            speed = speeds[rng.integers(len(speeds))]
            x = change_tempo(x, speed) if self.stored else change_speed(x, speed)
        if not len(x) or (self.stored and self.cfg.features.cmvn not in OF_SPEECH):
            return x, True
        if 4 * self.epoch < self.cfg.optim.epochs:
            cfg = replace(cfg, silence_s=0.0)
        if self.stored:
            return change_bands(x, cfg, self.rate_hz, rng)
        return change_sound(x, cfg, self.cfg.features.sample_rate_hz, rng, self.scene.change if self.scene else None)

    def voice(self, rng: np.random.Generator) -> np.ndarray:
        """The samples (T,) of a drawn utterance; none if it cannot be read."""
        try:
            return self.load(int(rng.integers(len(self.utterances))))
        except InputError:
            return np.zeros(0, np.float32)

    def load(self, index: int) -> np.ndarray:
        """Samples (T,) or stored features (F, D), float32, from the cache or from the file."""
        if self.cache is None:
            return self._load(index)
        kept = self.cache.get(index)
        if kept is None:
            x = self._load(index)
            kept = x.ravel() if self.stored else np.clip(x * 32768, -32768, 32767).round().astype(np.int16)
            self.cache.put(index, kept)
        return kept.reshape(-1, self.cfg.features.num_bins) if self.stored else kept.astype(np.float32) / 32768

    def _load(self, index: int) -> np.ndarray:
        with read_ahead() if self.in_shards else nullcontext():
            return load_input(self.cfg, self.utterances[index])


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
    inputs, targets, ids, texts = zip(*readable, strict=True) if readable else ((), (), (), ())
    return Batch(
        _padded(inputs),
        torch.tensor([len(x) for x in inputs], dtype=torch.int64),
        _padded(targets),
        torch.tensor([len(t) for t in targets], dtype=torch.int64),
        list(ids),
        list(texts),
        [item for item in items if isinstance(item, Unreadable)],
    )


def _padded(tensors: Sequence[Tensor]) -> Tensor:
    """(N, longest, ...), padded with 0; (0,) for no tensors."""
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True) if tensors else torch.empty(0)
