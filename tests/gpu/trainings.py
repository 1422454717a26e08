"""Parts of `make gpu-test` that call the trainer: its throughput, and torchrun on two GPUs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from asr import manifest, pipeline
from asr.config import Config, DataConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.manifest import Utterance

DEVICE = "cuda"
TONES_HZ = {"a": 400, "b": 900, "c": 1600}
RATE_HZ = 16000


def make_corpus(folder: Path, sizes: dict[str, int], letters: int) -> None:
    """Words spelled in tones of a fifth of a second each."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE_HZ // 5) / RATE_HZ
    for split, size in sizes.items():
        utterances = []
        for number in range(size):
            text = "".join(rng.choice(list(TONES_HZ), letters))
            x = np.concatenate([0.1 * np.sin(2 * np.pi * TONES_HZ[letter] * t) for letter in text])
            path = folder / f"{split}{number}.wav"
            soundfile.write(path, x + 0.01 * rng.standard_normal(len(x)), RATE_HZ)
            utterances.append(Utterance(path.stem, str(path), None, 0.0, len(x) / RATE_HZ, text))
        manifest.write(folder / f"{split}.jsonl", utterances)


def config(folder: Path, out: str, precision: str = "auto", workers: int = 0, **net: object) -> Config:
    data = DataConfig(dir="", train=str(folder / "train.jsonl"), dev=str(folder / "dev.jsonl"), test="")
    data.workers = workers
    return Config(
        out=str(folder / out), bundle="", device=DEVICE, data=data, features=FeaturesConfig(),
        model=ModelConfig(**({"kind": "lstm", "hidden": 512, "layers": 4} | net)),  # type: ignore[arg-type]
        optim=OptimConfig(epochs=2, batch_s=600.0, precision=precision),
    )  # fmt: skip


def throughput(count: int = 600, letters: int = 50, **net: object) -> None:
    """Seconds of audio that a training reads per second, by precision and processes that read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder, {"train": count, "dev": 2}, letters)
        for precision, workers in (("fp32", 0), ("fp16", 0), ("bf16", 0), ("bf16", 8)):
            cfg = config(folder, f"{precision}{workers}", precision, workers, **net)
            start = time.perf_counter()
            pipeline.train(cfg)
            audio_s = cfg.optim.epochs * count * letters / 5
            rate = audio_s / (time.perf_counter() - start)
            print(f"{precision}, data.workers={workers}: {rate:.0f} seconds of audio per second")


def torchrun() -> None:
    """Two processes, one GPU each, have the same loss curve as one with the same batches, also where they divide the
    net (FSDP)."""
    if torch.cuda.device_count() < 2:
        print(f"needs two GPUs; there are {torch.cuda.device_count()}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder, {"train": 40, "dev": 8}, 3)
        root = str(Path(__file__).parents[2])
        for out, ranks, more in (("one", 1, []), ("two", 2, []), ("divided", 2, ["optim.sharded=true"])):
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m",
                       "asr", "train", f"out={folder}/{out}", f"data.train={folder}/train.jsonl", f"device={DEVICE}",
                       f"data.dev={folder}/dev.jsonl", "model=cnn", "model.hidden=64", "model.layers=2",
                       "optim.epochs=4", "optim.batch_s=8", "optim.shards=2", "optim.precision=fp32",
                       *more]  # fmt: skip
            subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": root})
        one, two, divided = ([json.loads(line)["train_loss"] for line in (folder / out / "train/log.jsonl").open()]
                             for out in ("one", "two", "divided"))  # fmt: skip
    print(f"train loss with one process {one}, with two {two}, with the net divided {divided}")
    np.testing.assert_allclose(two, one, rtol=1e-3)  # kernels add in no fixed order
    np.testing.assert_allclose(divided, one, rtol=1e-3)


PARTS = {f.__name__: f for f in (throughput, torchrun)}

if __name__ == "__main__":
    PARTS[sys.argv[1]]()
