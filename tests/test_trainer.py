"""Training: it learns, it resumes to the same bits after kill -9, and bad input is named."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr import manifest
from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.errors import InputError
from asr.manifest import Utterance
from asr.training import checkpoint
from asr.training import trainer as trainer_module
from asr.training.shards import ShardResult
from asr.training.trainer import Trainer, load_model, train

TONES_HZ = {"a": 400, "b": 900, "c": 1600}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Words spelled in tones, 40 of them to train on and 10 for dev; one training file is missing."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("dev", 10)):
        utterances = []
        for i in range(count):
            text = "".join(rng.choice(list(TONES_HZ), 3, replace=False))
            path = tmp_path / "data" / f"{split}{i}.wav"
            path.parent.mkdir(exist_ok=True)
            t = np.arange(3200) / 16000
            x = np.concatenate([np.sin(2 * np.pi * TONES_HZ[c] * t) for c in text])
            soundfile.write(path, 0.1 * x + 0.01 * rng.standard_normal(len(x)), 16000)
            utterances.append(Utterance(f"{split}{i}", str(path), None, 0.0, 0.6, text))
        if split == "train":
            utterances.append(Utterance("gone", str(tmp_path / "data" / "gone.wav"), None, 0.0, 0.6, "abc"))
        manifest.write(tmp_path / "data" / f"{split}.jsonl", utterances)
    return tmp_path


def config(corpus: Path, out: str, epochs: int = 3, **optim: float) -> Config:
    data = DataConfig(dir="", train=str(corpus / "data/train.jsonl"), dev=str(corpus / "data/dev.jsonl"), test="")
    steps = {"batch_s": 5.0, "lr": 1e-2, "checkpoint_steps": 2, **optim}
    return Config(
        out=str(corpus / out),
        bundle="",
        data=data,
        features=FeaturesConfig(num_bins=20),
        augment=AugmentConfig(freq_width=2, time_width_s=0.03, silence_s=0.2),
        model=ModelConfig(kind="cnn", hidden=24, layers=2, dropout=0.1),
        optim=OptimConfig(epochs=epochs, **steps),  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("drawn")
def test_training_learns_and_writes_its_files(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = config(corpus, "exp", epochs=12)
    cfg.seed = 2
    final = train(cfg)
    folder = corpus / "exp/train"
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert records[-1]["dev_loss"] < 0.5 * records[0]["dev_loss"]
    assert records[-1]["dev_ter"] < 0.1
    assert (folder / "curves.png").stat().st_size > 1000
    assert list((folder / "tensorboard").glob("events*"))
    assert len(list((folder / "checkpoints").glob("*.safetensors"))) == cfg.optim.average
    assert "gone" in capsys.readouterr().out
    model, tokens = load_model(cfg)
    assert tokens.symbols == ["<blk>", "a", "b", "c"]
    best = sorted(records, key=lambda r: (r["dev_ter"], r["dev_loss"]))[: cfg.optim.average]
    models = [checkpoint.read_tensors(folder / r["file"]) for r in best]
    assert any(same_tensors(model.state_dict(), checkpoint.average(models[:k])) for k in range(1, len(models) + 1))
    assert train(cfg) == final  # finished: nothing to do


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("errors", "losses", "count"),
    [([6, 3, 4, 5], [1, 1, 1, 1], 2), ([1, 4, 3, 2], [1, 1, 1, 1], 1), ([4, 3, 3, 3], [5, 9, 7, 8], 3),
     ([2, 2, 2, 2], [1, 1, 1, 1], 4)],
)  # fmt: skip
def test_the_dev_set_chooses_how_many_epochs_are_averaged(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, errors: list[int], losses: list[int], count: int
) -> None:
    """`errors` and `losses` of the means of 1, 2, 3 and 4 epochs. Each epoch is judged once, at its end, and read once,
    then those of the best."""
    trainer = Trainer(config(corpus, "exp", epochs=4))
    found = [{"dev_ter": e / 100, "dev_loss": float(loss)} for e, loss in zip(errors, losses, strict=True)]
    found[1:1] = [{"dev_ter": 1.0 + epoch, "dev_loss": 9.0} for epoch in (2, 3, 4)]  # the first epoch is the best
    monkeypatch.setattr(trainer, "evaluate", lambda: found.pop(0))
    read, reads = trainer.read_epoch, []
    monkeypatch.setattr(trainer, "read_epoch", lambda record: reads.append(record) or read(record))
    kept = checkpoint.read_tensors(trainer.run())
    assert len(reads) == 4 + count and not found
    models = [checkpoint.read_tensors(corpus / "exp/train" / r["file"]) for r in trainer.best_epochs()[:count]]
    assert same_tensors(kept, checkpoint.average(models))


def start_training(cfg: Config, threads: int = 1) -> subprocess.Popen:
    """Train in a separate process group. Ctrl-C ends it even if these tests run in the background, which ignores it."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_trainer import *; "
    code += f"cfg = config(Path({str(Path(cfg.out).parent)!r}), {Path(cfg.out).name!r}, epochs={cfg.optim.epochs}); "
    code += f"torch.set_num_threads(1); cfg.threads = {threads}; train(cfg)"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(done: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_for_step(process: subprocess.Popen, out: Path, step: int) -> None:
    """Wait until a resume point at or beyond `step` exists."""
    state = out / "train/state.json"

    def reached() -> bool:
        assert process.poll() is None
        return state.exists() and json.loads(state.read_text())["step"] >= step

    wait_until(reached)


def run_until_killed(cfg: Config, step: int, threads: int = 1) -> None:
    """Train in another process and kill it -9 once a resume point at or beyond `step` stands."""
    process = start_training(cfg, threads)
    wait_for_step(process, Path(cfg.out), step)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_and_resumed_training_ends_with_the_same_bits(corpus: Path) -> None:
    torch.set_num_threads(1)
    unbroken, broken = config(corpus, "unbroken"), config(corpus, "broken")
    train(unbroken)
    steps_an_epoch = Trainer(unbroken).epoch_starts[1]
    run_until_killed(broken, steps_an_epoch + 2)
    stopped = json.loads((corpus / "broken/train/state.json").read_text())["step"]
    assert steps_an_epoch < stopped < 3 * steps_an_epoch
    train(broken)
    one, other = (checkpoint.read_tensors(corpus / f"{out}/train/final.safetensors") for out in ("unbroken", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_accumulated_batches_step_less_often_and_at_the_end_of_an_epoch(corpus: Path) -> None:
    trainer = Trainer(config(corpus, "exp", epochs=2, accumulate=4))
    first, last = trainer.epoch_starts[1:]
    steps: list[int] = []
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state["step"]))
    trainer.run()
    assert first % 4  # a rest is left
    assert steps == sorted({*range(4, last, 4), first, last})


def test_resuming_between_epochs_of_accumulated_batches(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    whole, halves = config(corpus, "whole", epochs=2, accumulate=4), config(corpus, "halves", epochs=2, accumulate=4)
    train(whole)
    trainer = Trainer(halves)
    monkeypatch.setattr(trainer, "is_stale", lambda: trainer.state["epoch"] == 1)
    trainer.run().unlink()
    train(halves)
    one, other = (checkpoint.read_tensors(corpus / f"{out}/train/final.safetensors") for out in ("whole", "halves"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_divergence_stops_the_training_and_names_the_step(corpus: Path) -> None:
    says = (
        r"training diverged: 10 steps in a row were skipped; at step \d+ the loss is nan, over \d+ utterances: "
        r"train\d+, train\d+, train\d+, \.\.\. \("
    )
    trainer = Trainer(config(corpus, "exp"))
    trainer.cfg.optim.lr = 1e30  # the command line refuses it
    with pytest.raises(InputError, match=says) as caught:
        trainer.run()
    listed = [line.split("\t") for line in (corpus / "exp/train/skipped.txt").read_text().splitlines()]
    last = [id for step, id, _ in listed if step == listed[-1][0]]
    assert len(last) > 3 and f"over {len(last)} utterances" in str(caught.value)
    assert len({step for step, _, _ in listed}) == 10
    assert len(str(caught.value)) - len(str(corpus)) < 300
    assert not (corpus / "exp/train/final.safetensors").exists()


@pytest.mark.parametrize("name", ["epochs", "accumulate", "average", "batch_s"])
def test_options_out_of_range_are_named(corpus: Path, name: str) -> None:
    cfg = config(corpus, "exp")
    setattr(cfg.optim, name, 0)
    with pytest.raises(InputError, match=rf"optim.{name}=0: expected a (whole )?number in [\[(]"):
        Trainer(cfg)


def test_a_failed_start_does_not_block_the_next(corpus: Path) -> None:
    wrong = config(corpus, "exp")
    wrong.data.train = str(corpus / "nowhere.jsonl")
    with pytest.raises(InputError, match="nowhere.jsonl"):
        Trainer(wrong)
    Trainer(config(corpus, "exp"))


def test_early_stop(corpus: Path) -> None:
    train(config(corpus, "exp", epochs=30, lr=0.0, patience=2))
    assert len((corpus / "exp/train/log.jsonl").read_text().splitlines()) == 3


def test_learning_rate_warms_up_then_falls_to_zero(corpus: Path) -> None:
    trainer = Trainer(config(corpus, "exp", epochs=10, warmup=0.25))
    rates = [trainer.learning_rate(step) for step in range(trainer.epoch_starts[-1])]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(1e-2, rel=0.05) and 0 < rates[-1] < 1e-4


def test_a_folder_of_another_training_is_refused(corpus: Path) -> None:
    Trainer(config(corpus, "exp"))
    other = config(corpus, "exp")
    other.model = replace(other.model, hidden=16)
    with pytest.raises(InputError, match="holds a training with model.hidden=24"):
        Trainer(other)


@pytest.mark.parametrize("kind", ["global", "causal"])
def test_statistics_of_normalisation_are_fitted_and_kept(corpus: Path, kind: str) -> None:
    cfg = config(corpus, "exp", epochs=1)
    cfg.features = replace(cfg.features, cmvn=kind)
    train(cfg)
    model, _ = load_model(cfg)
    assert model.frontend.cmvn.has_stats


def test_statistics_are_fitted_on_the_device_of_the_front_end(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, devices = Trainer(config(corpus, "run")), set()
    trainer.shards.cfg.device = "meta"  # now, as the net is on the CPU

    def note(x: torch.Tensor, lengths: torch.Tensor) -> None:
        devices.update((x.device.type, lengths.device.type))

    monkeypatch.setattr(trainer.model.frontend, "accumulate_stats", note)
    trainer.fit_cmvn()
    assert devices == {"meta"}


def test_no_usable_utterance_is_an_error(corpus: Path) -> None:
    path = corpus / "data/long.jsonl"
    manifest.write(path, [replace(u, text="abc" * 20) for u in manifest.read(corpus / "data/train.jsonl")])
    cfg = config(corpus, "exp")
    cfg.data.train = str(path)
    with pytest.raises(InputError, match="0 usable utterances"):
        Trainer(cfg)
    aside = [json.loads(line) for line in (corpus / "exp/train/set_aside.jsonl").read_text().splitlines()]
    assert len(aside) == 41 and "output frames, the audio has" in aside[0]["why"]


def test_corrupt_checkpoint_is_named(corpus: Path) -> None:
    path = corpus / "x.safetensors"
    path.write_bytes(b"not tensors")
    with pytest.raises(InputError, match="cannot read the checkpoint .*x.safetensors"):
        checkpoint.read_tensors(path)


def test_processes_change_no_bit(corpus: Path) -> None:
    one, two = config(corpus, "one"), config(corpus, "two")
    one.threads, two.threads = 1, 2
    models = [checkpoint.read_tensors(train(cfg)) for cfg in (one, two)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    logs = [(corpus / f"{out}/train/log.jsonl").read_text() for out in ("one", "two")]
    assert logs[0] == logs[1]


def test_parts_of_a_batch_on_a_gpu_are_computed_in_one_process(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is forked from one that uses CUDA cannot use it."""

    class Made(Exception):
        pass

    def make(run: partial, processes: int, threads: int) -> None:
        raise Made(run.args, processes, threads)

    monkeypatch.setattr(trainer_module, "Team", make)
    for device, expected in (("cpu", ((4,), 4, 1)), ("cuda", ((1,), 1, 4))):
        cfg = config(corpus, device, shards=4)
        cfg.threads = 4
        trainer = Trainer(cfg)
        trainer.cfg.device = device  # now, as the net is on the CPU
        with pytest.raises(Made) as made:
            trainer.run()
        assert made.value.args == expected


def test_killed_with_two_processes_and_resumed_with_one(corpus: Path) -> None:
    unbroken, broken = config(corpus, "unbroken"), config(corpus, "broken")
    unbroken.threads = 1
    train(unbroken)
    run_until_killed(broken, 4, threads=2)
    broken.threads = 1
    train(broken)
    one, other = (checkpoint.read_tensors(corpus / f"{out}/train/final.safetensors") for out in ("unbroken", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_dead_process_ends_the_training_with_one_sentence(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(corpus, "exp")
    cfg.threads = 2
    trainer = Trainer(cfg)
    kill_at_step(trainer, 2, monkeypatch)
    with pytest.raises(
        InputError, match=r"training process 1 \(pid \d+\) ended with exit code -9; .*resumes the train"
    ):
        trainer.run()
    assert not multiprocessing.active_children()
    assert train(cfg).exists()


def kill_at_step(trainer: Trainer, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the second process -9 once `step` steps are done."""
    take_step = trainer.take_step

    def take_or_kill() -> list[ShardResult]:
        if trainer.state["step"] == step:
            multiprocessing.active_children()[0].kill()
        return take_step()

    monkeypatch.setattr(trainer, "take_step", take_or_kill)


def test_interrupted_training_leaves_no_process(corpus: Path) -> None:
    """Ctrl-C reaches every process of the group, as it does in a terminal."""
    process = start_training(config(corpus, "exp", epochs=60), threads=2)
    wait_for_step(process, corpus / "exp", 2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    wait_until(lambda: not group_exists(process.pid))


def test_processes_end_with_a_killed_training(corpus: Path) -> None:
    process = start_training(config(corpus, "exp", epochs=60), threads=2)
    wait_for_step(process, corpus / "exp", 2)
    process.kill()
    process.wait()
    wait_until(lambda: not group_exists(process.pid))


def group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_negative_threads_are_refused(tmp_path: Path) -> None:
    cfg = Config(out=str(tmp_path), threads=-1)
    with pytest.raises(InputError, match="threads=-1: expected a whole number in"):
        Trainer(cfg)
