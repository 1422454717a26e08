"""General speech in a training: drawn anew in each epoch, and a set that may not become worse."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from ctranslate2_model import write_model

from asr import manifest, pipeline
from asr.config import Config
from asr.data.batching import epoch_numbers
from asr.errors import InputError
from asr.training.trainer import Trainer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A net `first` that knows a, b and c, and a training set of words of d alone."""
    torch.set_num_threads(1)
    tones.write(tmp_path, "train", 24)
    tones.write(tmp_path, "dev", 4, seed=1)
    cfg = tones.config(tmp_path, "first")
    cfg.optim.epochs, cfg.optim.average, cfg.optim.lr = 12, 1, 3e-2
    pipeline.train(cfg)
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").rename(tmp_path / f"general_{name}.jsonl")
    for name, count in (("train", 8), ("dev", 2)):
        path = tones.write(tmp_path, f"d{name}", count, letters="abd")
        path.rename(tmp_path / f"{name}.jsonl")
    return tmp_path


def config(corpus: Path, out: str, **optim: float) -> Config:
    cfg = tones.config(corpus, out)
    cfg.init = str(corpus / "first")
    cfg.data.general_dev = str(corpus / "general_dev.jsonl")
    cfg.optim = replace(cfg.optim, **{"epochs": 3, "lr": 3e-2, **optim})
    return cfg


def records(corpus: Path, out: str) -> list[dict]:
    return [json.loads(line) for line in (corpus / out / "train/log.jsonl").read_text().splitlines()]


def test_a_share_of_each_epoch_is_drawn() -> None:
    durations = [1.0] * 60 + [0.5] * 300
    epochs = [epoch_numbers(durations, 60, 0.25, seed=1, epoch=epoch) for epoch in range(3)]
    for numbers in epochs:
        assert numbers[:60] == list(range(60)) and len(set(numbers)) == len(numbers)
        assert sum(durations[i] for i in numbers[60:]) == pytest.approx(20, abs=0.5)  # 20 s of 80
    assert epochs[0] != epochs[1] and epochs[0] == epoch_numbers(durations, 60, 0.25, seed=1, epoch=0)
    assert epoch_numbers(durations, 60, 0.9, seed=1, epoch=0) == list(range(360))  # all that there are
    assert epoch_numbers(durations, 60, 0.0, seed=1, epoch=0) == epoch_numbers(durations[:60], 60, 0.9, 1, 0)


def test_a_training_that_forgets_fails(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.1, 0.13, 0.12, 0.14])
    monkeypatch.setattr(Trainer, "judge_general", lambda self: next(found))
    for _ in range(2):  # as long as nothing changes
        with pytest.raises(InputError, match=r"none of the 3 epochs keeps .* 10.00% .* there \(2\) has 12.00%; raise"):
            pipeline.train(config(corpus, "run", general_margin=1.0))
    assert not (corpus / "run/train/final.safetensors").exists()


def test_epochs_that_keep_the_general_set_are_chosen(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = config(corpus, "kept", general_margin=5.0, epochs=6, average=3)
    cfg.data.replay, cfg.data.replay_share = str(corpus / "general_train.jsonl"), 0.7
    assert pipeline.train(cfg).exists()
    printed = capsys.readouterr().out
    start = float(printed.split("general token errors ")[1].split("%")[0]) / 100
    kept = [r for r in records(corpus, "kept") if r["general_ter"] <= start + 0.05 + 1e-9]
    assert kept and f"general token errors {records(corpus, 'kept')[-1]['general_ter']:.2%}" in printed
    last = printed.strip().splitlines()[-1]
    assert all(int(n) in [r["epoch"] for r in kept] for n in last.split("[")[1].split("]")[0].split(","))


def test_a_mean_that_forgets_gives_way_to_the_best_epoch(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch passes, their means do not."""
    found = iter([0.1, 0.1, 0.1, 0.1, 0.9, 0.9])
    monkeypatch.setattr(Trainer, "judge_general", lambda self: next(found))
    final = pipeline.train(config(corpus, "run", average=3))
    best = min(records(corpus, "run"), key=lambda r: (r["dev_ter"], r["dev_loss"]))
    epoch = final.with_name("checkpoints") / f"epoch-{best['epoch']:03d}.safetensors"
    assert final.read_bytes() == epoch.read_bytes()


def test_the_general_set_survives_a_resume(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replayed(out: str) -> Config:
        cfg = config(corpus, out, general_margin=100.0, epochs=2)
        cfg.data.replay = str(corpus / "general_train.jsonl")
        return cfg

    final = pipeline.train(replayed("whole"))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "is_stale", lambda self: self.state["epoch"] == 1)
        pipeline.train(replayed("stopped")).unlink()
    assert pipeline.train(replayed("stopped")).read_bytes() == final.read_bytes()
    cfg = replayed("stopped")
    cfg.data.replay_share = 0.2
    with pytest.raises(InputError, match="data.replay_share=0.3"):
        pipeline.train(cfg)


def test_general_speech_is_encoded_like_the_rest(corpus: Path) -> None:
    write_model(corpus / "whisper")
    cfg = tones.config(corpus, "run", kind="pretrained", shift_ms=20.0, encoder=str(corpus / "whisper"))
    cfg.data.replay, cfg.optim.epochs = str(corpus / "general_train.jsonl"), 1
    pipeline.train(cfg)
    rows = manifest.read(corpus / "run/features/replay.jsonl")
    assert len(rows) == 24 and np.load(rows[0].features).dtype == np.float16


def test_a_general_set_needs_a_start(corpus: Path) -> None:
    cfg = config(corpus, "run")
    cfg.init = None
    with pytest.raises(InputError, match="which it must not become worse than; name it with init="):
        pipeline.train(cfg)
