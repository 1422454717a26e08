"""A corpus of words spelled in tones, small enough for a net of a few weights."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from asr import manifest
from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.manifest import Utterance

TONES_HZ = {"a": 400, "b": 900, "c": 1600, "d": 2500}


def write(folder: Path, name: str, count: int, letters: str = "abc", seed: int = 0) -> Path:
    """`count` words of three different letters, 0.6 s each; returns the manifest."""
    rng = np.random.default_rng(seed)
    utterances = []
    for i in range(count):
        text = "".join(rng.choice(list(letters), 3, replace=False))
        t = np.arange(3200) / 16000
        x = np.concatenate([0.1 * np.sin(2 * np.pi * TONES_HZ[c] * t) for c in text])
        path = folder / f"{name}{i}.wav"
        soundfile.write(path, x + 0.01 * rng.standard_normal(len(x)), 16000)
        utterances.append(Utterance(f"{name}{i}", str(path), None, 0.0, 0.6, text))
    manifest.write(folder / f"{name}.jsonl", utterances)
    return folder / f"{name}.jsonl"


def corpus(folder: Path, train: int, dev: int) -> Path:
    """Writes `train.jsonl` and `dev.jsonl` of so many words, for a training on one thread; returns the folder."""
    torch.set_num_threads(1)
    write(folder, "train", train)
    write(folder, "dev", dev, seed=1)
    return folder


def config(folder: Path, out: str, **features: object) -> Config:
    """A training on `train.jsonl` and `dev.jsonl` in the folder, without augmentation."""
    return Config(
        out=str(folder / out),
        data=DataConfig(train=str(folder / "train.jsonl"), dev=str(folder / "dev.jsonl")),
        features=FeaturesConfig(**{"num_bins": 20, "cmvn": "global", **features}),
        augment=AugmentConfig(speeds=[], silence_s=0.0, gain_db=[], freq_masks=0, time_masks=0),
        model=ModelConfig(kind="fc", hidden=16, layers=1, subsampling=1, dropout=0.0),
        optim=OptimConfig(epochs=2, batch_s=5, lr=1e-2),
        threads=1,
    )
