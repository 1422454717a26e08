"""Seconds of speech per second of training: this toolkit's trainer and plain PyTorch loops over the same net.

    python -m benchmarks.throughput RECIPE [--seconds 20] [--rounds 3] [KEY=VALUE ...]
    python -m benchmarks.throughput digits data.dir=exp/digits/data

The training manifest of the experiment must exist (`python -m recipes.run RECIPE` makes it). The loops:

    toolkit     `asr train`
    plain       the usual loop: one process on all cores, the same batches, torch's CTC, AdamW
    shuffled    the same, with as many utterances per batch in random order instead of batches of similar lengths
    speechbrain the batches of `plain` in SpeechBrain's fit loop with its CTC loss, if SpeechBrain can be imported
                (pip install --target PEERS --no-deps speechbrain hyperpyyaml ruamel.yaml sentencepiece huggingface_hub
                joblib; PYTHONPATH=PEERS)

All read, change and mask the same recordings in the same way, with as many reading processes. Each runs in a separate
process, in turn for `--rounds` rounds; the table has medians, and quotients of neighbouring runs. The first batches
are not timed. Writes benchmarks/results/throughput-RECIPE.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.functional import ctc_loss
from torch.utils.data import DataLoader
from tqdm import tqdm

from asr.cli.overrides import compose, to_overrides
from asr.data.augment import generator
from asr.data.dataset import Batch, collate
from asr.files import atomic_write
from asr.training.trainer import Trainer
from recipes.run import RECIPES

RESULTS = Path(__file__).parent / "results"
LOOPS, PEER = ("toolkit", "plain", "shuffled"), "speechbrain"
WARM_UP = 5  # batches


class Done(Exception):
    """Enough batches were timed."""


class Stopwatch:
    """Seconds of speech per second, of the batches of an epoch behind the first ones."""

    def __init__(self, trainer: Trainer, batches: Sequence[list[int]], seconds: float):
        if len(batches) <= WARM_UP:
            raise SystemExit(f"an epoch has {len(batches)} batches, of which the first {WARM_UP} are not timed; "
                             "lower optim.batch_s")  # fmt: skip
        durations_s = trainer.train_set.durations_s
        self.speech_s = [sum(durations_s[i] for i in batch) for batch in batches]
        self.seconds, self.done, self.start_s, self.rate = seconds, -1, 0.0, 0.0

    def begin_batch(self) -> None:
        """A batch begins, and all before it are done. Raises Done after enough time, and once all are done."""
        self.done += 1
        if self.done == WARM_UP:
            self.start_s = time.perf_counter()
        elif self.done > WARM_UP:
            past_s = time.perf_counter() - self.start_s
            self.rate = sum(self.speech_s[WARM_UP : self.done]) / past_s
            if past_s > self.seconds or self.done == len(self.speech_s):
                raise Done


def run_toolkit(trainer: Trainer, seconds: float) -> float:
    stopwatch = Stopwatch(trainer, trainer.batches_of(0), seconds)
    take_step, train_epoch = trainer.take_step, trainer.train_epoch

    def timed_step() -> list:
        stopwatch.begin_batch()
        return take_step()

    def timed_epoch(epoch: int, bar: tqdm) -> float:
        train_epoch(epoch, bar)
        stopwatch.begin_batch()  # before the net is judged on dev
        raise AssertionError("an epoch has more batches than were counted")

    trainer.take_step, trainer.train_epoch = timed_step, timed_epoch  # type: ignore[method-assign]
    try:
        trainer.run()
    except Done:
        pass
    return stopwatch.rate


def run_plain(trainer: Trainer, seconds: float, is_shuffled: bool) -> float:
    """As a script in plain PyTorch trains the net: one process with all cores' threads."""
    cfg, model, train_set = trainer.cfg, trainer.model, trainer.train_set
    torch.set_num_threads(os.cpu_count() or 1)
    batches = trainer.batches_of(0)
    if is_shuffled:
        order = np.random.default_rng(0).permutation(len(train_set)).tolist()
        batches = [part.tolist() for part in np.array_split(order, len(batches))]
    stopwatch = Stopwatch(trainer, batches, seconds)
    optimizer = torch.optim.AdamW(model.parameters(), cfg.optim.lr)
    model.train()
    try:
        for step, batch in enumerate(loader(trainer, batches)):
            stopwatch.begin_batch()
            features, lengths = trainer.shards.augmented(batch, generator(0, step, 0, 1))
            log_probs, frames = model.outputs(features, lengths)
            loss = loss_of(log_probs[-1], frames, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.optim.grad_clip)
            optimizer.step()
        stopwatch.begin_batch()
    except Done:
        pass
    return stopwatch.rate


def loader(trainer: Trainer, batches: Sequence[list[int]]) -> DataLoader:
    """The batches as the plain loops read them."""
    workers = trainer.cfg.data.workers
    return DataLoader(trainer.train_set, batch_sampler=batches, collate_fn=collate, num_workers=workers)


def run_speechbrain(trainer: Trainer, seconds: float) -> float:
    """As SpeechBrain's CTC recipes train the net: Brain.fit_batch, its checks and clipping, on all cores' threads."""
    from speechbrain import Brain
    from speechbrain.nnet.losses import ctc_loss as mean_loss

    cfg = trainer.cfg
    torch.set_num_threads(os.cpu_count() or 1)
    batches = trainer.batches_of(0)
    stopwatch = Stopwatch(trainer, batches, seconds)

    class Recogniser(Brain):
        def compute_forward(self, batch: Batch, stage: object) -> tuple[torch.Tensor, torch.Tensor]:
            stopwatch.begin_batch()
            features, lengths = trainer.shards.augmented(batch, generator(0, self.step, 0, 1))
            log_probs, frames = self.modules.net.outputs(features, lengths)
            return log_probs[-1], frames

        def compute_objectives(
            self, predictions: tuple[torch.Tensor, torch.Tensor], batch: Batch, stage: object
        ) -> torch.Tensor:
            log_probs, frames = predictions
            shares = frames / log_probs.shape[1], batch.target_lengths / batch.targets.shape[1]
            return mean_loss(log_probs, batch.targets, *shares, blank_index=0, reduction="batchmean")

    brain = Recogniser(
        {"net": trainer.model}, lambda weights: torch.optim.AdamW(weights, cfg.optim.lr),
        run_opts={"device": "cpu", "max_grad_norm": cfg.optim.grad_clip},
    )  # fmt: skip
    try:
        brain.fit(range(1), loader(trainer, batches), progressbar=False)
        stopwatch.begin_batch()
    except Done:
        pass
    return stopwatch.rate


def loss_of(log_probs: torch.Tensor, frames: torch.Tensor, batch: Batch) -> torch.Tensor:
    """CTC of torch, per utterance, of log-probs (N, F', V)."""
    x = log_probs.transpose(0, 1)
    return ctc_loss(x, batch.targets, frames, batch.target_lengths, zero_infinity=True, reduction="sum") / len(frames)


def measure(loop: str, recipe: str, words: Sequence[str], seconds: float) -> float:
    """One run of a loop in this process."""
    with tempfile.TemporaryDirectory() as out:
        overrides = [f"experiment={recipe}", f"out={out}", "optim.checkpoint_steps=1000000", *words]
        trainer = Trainer(compose(to_overrides(overrides, (), str(RECIPES / recipe))))
        if loop == "toolkit":
            return run_toolkit(trainer, seconds)
        if loop == PEER:
            return run_speechbrain(trainer, seconds)
        return run_plain(trainer, seconds, is_shuffled=loop == "shuffled")


def measure_apart(loop: str, words: Sequence[str]) -> float:
    """`measure` in a separate process, whose last line is the result."""
    command = [sys.executable, "-m", "benchmarks.throughput", *words, "--loop", loop]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", choices=(*LOOPS, PEER), help=argparse.SUPPRESS)
    options, words = parser.parse_known_args()
    if options.loop:
        print(measure(options.loop, options.recipe, words, options.seconds))
        return
    loops = (*LOOPS, PEER) if find_spec(PEER) else LOOPS
    rates: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(options.rounds):
        for loop in loops:
            rates[loop].append(measure_apart(loop, sys.argv[1:]))
            print(f"{loop:12}{rates[loop][-1]:8.1f} s of speech per second", flush=True)
    rows = {}
    for loop in loops:
        quotients = [ours / other for ours, other in zip(rates["toolkit"], rates[loop], strict=True)]
        rows[loop] = {"speech_s_per_s": median(rates[loop]), "toolkit_is_faster_by": median(quotients)}
        print(f"{loop:12}{median(rates[loop]):8.1f}   toolkit / {loop}: {median(quotients):.2f}")
    result = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "words": sys.argv[1:], "rates": rates, "rows": rows}
    with atomic_write(RESULTS / f"throughput-{options.recipe}.json") as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
