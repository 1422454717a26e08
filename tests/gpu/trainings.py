"""Parts of `make gpu-test` that call the trainer: its throughput, CUDA graphs, and torchrun on two GPUs."""

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
from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.data.dataset import collate
from asr.manifest import Utterance
from asr.training import cuda_graphs
from asr.training.trainer import Trainer

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


GRAPHS = [("cnn", "fp32", 1e-3), ("conformer", "fp32", 1e-3), ("conformer", "bf16", 1e-2)]  # and relative tolerance


def graphs(count: int = 60, letters: int = 10, hidden: int = 256, layers: int = 8) -> None:
    """A training with CUDA graphs has the losses of one that pads alike but has no graph, dropout included; the
    milliseconds of a step of both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder, {"train": count, "dev": 8}, letters)
        for kind, precision, tolerance in GRAPHS:
            found = []
            for most in (0, 8):
                cuda_graphs.MOST = most
                cfg = config(folder, f"{kind}-{precision}-{most}", precision, kind=kind, hidden=hidden, layers=layers)
                cfg.augment = AugmentConfig(speeds=[], silence_s=0.0)  # so that shapes come again
                cfg.optim.cuda_graphs, cfg.optim.epochs, cfg.optim.batch_s = True, 4, 40.0
                trainer = Trainer(cfg)
                trainer.run()
                losses = [record["train_loss"] for record in trainer.state["records"]]
                found.append((losses, step_ms(trainer), trainer.shards.outputs.recorded))  # type: ignore[attr-defined]
            (plain, plain_ms, _), (repeated, repeated_ms, recorded) = found
            shapes = [tuple(shape) for shape in recorded]
            print(f"{kind}, {precision}: train loss {plain}, with graphs {repeated}; a step takes {plain_ms:.2f} ms, "
                  f"with graphs {repeated_ms:.2f} ms; shapes {shapes}")  # fmt: skip
            assert min(16, count) in [utterances for utterances, *_ in shapes]  # else no graph was timed
            np.testing.assert_allclose(repeated, plain, rtol=tolerance)  # kernels add in no fixed order


def step_ms(trainer: Trainer) -> float:
    """The median of 20 training steps on the same 16 utterances, without reading them; the GPU is waited for."""
    shard, times = collate([trainer.train_set[i] for i in range(min(16, len(trainer.train_set)))]), []
    trainer.model.train()
    for step in range(24):
        start = time.perf_counter()
        trainer.shards.train(shard, step, 0, 24)  # ends with a look at the gradient
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[4:]))  # the shape is new at first, then recorded


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


PARTS = {f.__name__: f for f in (throughput, graphs, torchrun)}

if __name__ == "__main__":
    PARTS[sys.argv[1]]()
