"""Faults of a machine in the middle of a training: it goes on to the same bits, or ends with one sentence."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_trainer
import torch
from ranked import started
from test_full_disk import largest_file

from asr import manifest
from asr.config import Config
from asr.data.dataset import Batch
from asr.errors import InputError
from asr.files import explained
from asr.training import checkpoint, shards
from asr.training.shards import ShardResult, Shards
from asr.training.trainer import Trainer, train

config, corpus = test_trainer.config, test_trainer.corpus


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and no curves, which take longer than these trainings. Each epoch is better than the one before."""
    torch.set_num_threads(1)
    monkeypatch.setattr("asr.training.curves.Curves.plot", lambda self, records: None)
    judged = {"dev_loss": 1.0}
    monkeypatch.setattr(Trainer, "evaluate", lambda self: judged | {"dev_ter": 1 / (1 + self.state["step"])})


def short(corpus: Path, out: str) -> Config:
    """A training on six utterances that replaces its best epoch, with resume points in and after epochs."""
    cfg = config(corpus, out, epochs=3, batch_s=2.0, average=1, checkpoint_steps=1)
    for name, count in (("train", 6), ("dev", 2)):
        path = corpus / f"data/few-{name}.jsonl"
        manifest.write(path, manifest.read(corpus / f"data/{name}.jsonl")[:count])
        setattr(cfg.data, name, str(path))
    cfg.threads = 1
    return cfg


def final_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read_tensors(folder / "train" / "final.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def snapshots(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Train; returns copies of the run folder as it was before each checkpoint appeared, changed or disappeared.

    What a process that is killed -9 leaves is one of them: what it has written stays in the system's memory.
    """
    copies: list[Path] = []
    out = Path(cfg.out)

    def copying(change: Callable) -> Callable:
        def changed(path: str, *others: str, **options: object) -> None:
            if re.search(r"resume|state|previous|epoch|final", str(Path(path).relative_to(out.parent))):
                copies.append(out.with_name(f"copy{len(copies)}"))
                shutil.copytree(out, copies[-1], ignore=shutil.ignore_patterns(".lock*"))
            change(path, *others, **options)

        return changed

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            patched.setattr(os, name, copying(getattr(os, name)))
        train(cfg)
    return copies


def test_killed_before_any_change_of_a_file(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = short(corpus, "exp")
    copies = snapshots(cfg, monkeypatch)
    assert len(copies) > 20
    wanted = final_of(corpus / "exp")
    for copy in copies:
        cfg.out = str(copy)
        train(cfg)
        assert same(final_of(copy), wanted), copy


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "state", "no state", "model"])
def test_a_damaged_resume_point_gives_way_to_the_one_before(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, damage: str
) -> None:
    whole, cfg = short(corpus, "whole"), short(corpus, "exp")
    train(whole)
    stop_after(cfg, 4, monkeypatch)
    folder = corpus / "exp/train"
    newest = max(folder.glob("resume-*.safetensors"))
    assert len(list(folder.glob("resume-*.safetensors"))) == 2
    path = {"state": folder / "state.json", "no state": folder / "state.json",
            "model": folder / "checkpoints/epoch-002.safetensors"}.get(damage, newest)  # fmt: skip
    hurt(path, damage)
    train(cfg)
    told = capsys.readouterr().out
    assert re.search(rf"{path}.*; going on from the resume point before, at step \d\n", told)
    assert same(final_of(corpus / "exp"), final_of(corpus / "whole"))


def stop_after(cfg: Config, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until so many steps are done and saved."""
    trainer = Trainer(cfg)
    update = trainer.train_epoch

    def stop(epoch: int, bar: object) -> float:
        if trainer.state["step"] >= steps:
            raise KeyboardInterrupt
        return update(epoch, bar)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer, "train_epoch", stop)
        trainer.run()


def hurt(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage in ("gone", "no state"):
        path.unlink()
        return
    data[len(data) // 2] ^= 64
    path.write_bytes(data[:-50] if damage in ("cut", "state") else data)


def test_two_damaged_resume_points_are_refused(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = short(corpus, "exp")
    stop_after(cfg, 4, monkeypatch)
    folder = corpus / "exp/train"
    for path in folder.glob("resume-*.safetensors"):
        hurt(path, "flipped")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{max(folder.glob('resume-*'))} is damaged .*; restore it, .* or delete"):
        train(cfg)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_full_disk_in_the_middle_of_a_training(corpus: Path) -> None:
    whole, cfg = short(corpus, "whole"), short(corpus, "exp")
    train(whole)
    sizes = [path.stat().st_size for path in (corpus / "whole/train").glob("*.safetensors")]
    for size in (min(sizes) // 2, max(sizes) - 1):
        with largest_file(size), pytest.raises(OSError, match="File too large: .*resume-00000001.safetensors") as error:
            train(cfg)
        assert "choose a place that allows larger files" in str(explained(error.value))
        assert not list((corpus / "exp/train").glob("*.tmp"))
    train(cfg)
    assert same(final_of(corpus / "exp"), final_of(corpus / "whole"))


def test_a_full_file_system_at_any_moment(corpus: Path) -> None:
    """Each time it is full, it grows a little, and the same command goes on."""
    place = corpus / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        whole, cfg = short(corpus, "whole"), short(corpus, "small/exp")
        train(whole)
        faults = []
        for size in range(12, 4000, 12):
            try:
                train(cfg)
                break
            except OSError as e:
                faults.append(str(explained(e)))
            assert not [path for path in place.rglob("*.tmp") if path.stat().st_size]
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(place)], check=True)
        assert len(faults) > 5
        assert all(re.match(f"No space left on device: {place}/exp/train.*; make room there", f) for f in faults)
        assert same(final_of(place / "exp"), final_of(corpus / "whole"))
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_reading_process_that_is_killed(corpus: Path) -> None:
    whole, cfg = short(corpus, "whole"), short(corpus, "exp")
    train(whole)
    cfg.data.workers = 1
    process = started(train_and_kill_reader, cfg, corpus / "told.txt")
    process.join()
    says = r"a process that reads audio has ended: .*; the same command resumes the training"
    assert re.match(says, (corpus / "told.txt").read_text(), re.S)
    train(cfg)
    assert same(final_of(corpus / "exp"), final_of(corpus / "whole"))


def train_and_kill_reader(cfg: Config, told: Path) -> None:
    """Train, and kill the process that reads audio at step 3; the error's text goes to `told`."""
    take_step = Trainer.take_step

    def kill_and_take(self: Trainer) -> list[ShardResult]:
        if self.state["step"] == 3:
            for process in multiprocessing.active_children():
                process.kill()
        return take_step(self)

    Trainer.take_step = kill_and_take  # type: ignore[method-assign]
    try:
        train(cfg)
    except InputError as e:
        told.write_text(str(e))
    os._exit(0)  # the handler of the DataLoader would raise until the end


class Lost:
    """What a reading process hands over at the moment when it is killed."""

    def __reduce__(self) -> tuple:
        return lose, (os.getpid(),)


def lose(reader: int) -> None:
    os.kill(reader, signal.SIGKILL)
    raise FileNotFoundError("there is no such socket")


def test_a_reading_process_that_is_killed_while_it_hands_over(tmp_path: Path) -> None:
    process = started(load_and_tell, tmp_path / "told.txt")
    process.join()
    assert (tmp_path / "told.txt").read_text().startswith("a process that reads audio has ended: ")


def load_and_tell(told: Path) -> None:
    shards.collate = lambda items: Lost()  # type: ignore[assignment]
    try:
        next(shards.load([0], [[0]], 1))  # type: ignore[arg-type]
    except InputError as e:
        told.write_text(str(e))
    os._exit(0)


def spoil(trainer: Trainer, steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """At some steps, the features of `train2` are not finite."""
    augmented = trainer.shards.augmented

    def spoiled(shard: Batch, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        features, lengths = augmented(shard, rng)
        if trainer.state["step"] in steps and "train2" in shard.ids:
            features[shard.ids.index("train2")] = float("nan")
        return features, lengths

    monkeypatch.setattr(trainer.shards, "augmented", spoiled)


def test_a_step_without_a_finite_loss_is_skipped_and_named(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    trainer = Trainer(short(corpus, "exp"))
    with_it = {step for step, batch in enumerate(b for e in range(3) for b in trainer.batches_of(e)) if 2 in batch}
    spoil(trainer, {*range(5)}, monkeypatch)
    updates: list[int] = []
    trainer.optimizer.register_step_post_hook(lambda *_: updates.append(trainer.state["step"] - 1))
    trainer.run()
    skipped = sorted(with_it & {*range(5)})
    assert skipped and updates == [step for step in range(6) if step not in skipped]
    told = capsys.readouterr().out
    assert all(f"skipped step {step}: the loss is nan, over 1 utterances: train2\n" in told for step in skipped)
    listed = (corpus / "exp/train/skipped.txt").read_text()
    assert listed == "".join(f"{step}\ttrain2\tthe loss is nan\n" for step in skipped)
    assert all(tensor.isfinite().all() for tensor in final_of(corpus / "exp").values())


def test_a_step_without_a_finite_gradient_is_skipped(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(short(corpus, "exp"))
    loss, calls = trainer.criterion.loss, []

    def steep(log_probs: torch.Tensor, frames: torch.Tensor, shard: Batch) -> torch.Tensor:
        calls.append(shard.ids)
        found = loss(log_probs, frames, shard)
        return found + (0 * log_probs.sum()).sqrt() if len(calls) == 3 else found  # its slope at 0 is infinite

    monkeypatch.setattr(trainer.criterion, "loss", steep)
    trainer.run()
    lines = (corpus / "exp/train/skipped.txt").read_text().splitlines()
    assert lines == [f"1\t{id}\tthe gradient is not finite" for id in calls[2]]
    assert all(tensor.isfinite().all() for tensor in final_of(corpus / "exp").values())


def test_skipped_steps_are_counted_across_a_stop(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a training that diverges could be started again and again."""
    cfg = short(corpus, "exp")
    monkeypatch.setattr("asr.training.skips.MOST_IN_A_ROW", 2)
    monkeypatch.setattr(Shards, "train", lambda self, shard, step, number, count: ShardResult(number, 1, fault="f"))
    trainer = Trainer(cfg)
    take_step = trainer.take_step

    def take_or_stop() -> list[ShardResult]:
        if trainer.state["step"] == 1:
            raise KeyboardInterrupt
        return take_step()

    monkeypatch.setattr(trainer, "take_step", take_or_stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert json.loads((corpus / "exp/train/state.json").read_text())["skipped"] == 1
    with pytest.raises(InputError, match="training diverged: 2 steps in a row were skipped; at step 1 f, over 0 utt"):
        train(cfg)
