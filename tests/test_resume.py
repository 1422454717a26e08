"""A resumed training knows what it was made from, and says so where it cannot be exact."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import test_trainer
import torch

from asr import manifest
from asr.config import Config
from asr.errors import InputError
from asr.fingerprints import digest, digest_of_input
from asr.locks import locked
from asr.training.trainer import Trainer, load_model, train

config, corpus = test_trainer.config, test_trainer.corpus


@pytest.fixture
def stopped(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A training that was stopped after the first of two epochs. It has only one resume point."""
    torch.set_num_threads(1)
    cfg = config(corpus, "exp", epochs=2)
    trainer = Trainer(cfg)
    monkeypatch.setattr(trainer, "is_stale", lambda: trainer.state["epoch"] == 1)
    trainer.run().unlink()
    (corpus / "exp/train/previous.json").unlink()
    for path in sorted((corpus / "exp/train").glob("resume-*.safetensors"))[:-1]:
        path.unlink()
    return cfg


def rewrite(path: Path, samples: np.ndarray) -> None:
    """Other samples in a file of equal size and equal time stamps."""
    before = path.stat()
    soundfile.write(path, samples, 16000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_changed_recording_is_named(stopped: Config, corpus: Path) -> None:
    path = corpus / "data" / "train3.wav"
    samples, _ = soundfile.read(path)
    samples[4000] += 0.5
    rewrite(path, samples)
    with pytest.raises(InputError, match=rf"other recordings: the content of {path} has changed since; restore it, "):
        train(stopped)
    rewrite(corpus / "data" / "dev0.wav", samples)
    with pytest.raises(InputError, match=rf"content of {path} and 1 other files has changed since; restore them"):
        train(stopped)


def test_a_recording_that_disappeared_is_named(stopped: Config, corpus: Path) -> None:
    path = corpus / "data" / "train3.wav"
    path.rename(corpus / "kept.wav")
    with pytest.raises(InputError, match=rf"{path} \(it cannot be read now\) has changed since; restore it"):
        train(stopped)
    (corpus / "kept.wav").rename(path)
    assert train(stopped).exists()
    path.unlink()
    assert train(stopped).exists()  # trained already: the recording is not needed


def test_all_recordings_moved_together_are_the_same(stopped: Config, corpus: Path) -> None:
    shutil.move(corpus / "data", corpus / "moved")
    stopped.data.train, stopped.data.dev = (str(corpus / "moved" / f"{name}.jsonl") for name in ("train", "dev"))
    assert train(stopped).exists()


def test_unchanged_recordings_are_not_read_again(
    stopped: Config, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    read: list[str | None] = []

    def recorded(path: str | None) -> str | None:
        read.append(path)
        return digest_of_input(path)

    monkeypatch.setattr("asr.training.settings.digest_of_input", recorded)
    Trainer(stopped)
    assert read == [str(corpus / "data" / "gone.wav")]  # which is missing


def test_a_training_without_a_readable_recording_is_refused(corpus: Path) -> None:
    """Their headers may be fine and their durations known, so that only the loader notices."""
    cfg = config(corpus, "exp", epochs=2)
    for u in manifest.read(cfg.data.train):
        Path(u.audio or "").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="epoch 1 trained on none of the 41 utterances of .*train.jsonl"):
        train(cfg)
    assert not (corpus / "exp/train/final.safetensors").exists()


def test_a_dev_set_without_a_readable_recording_is_refused(corpus: Path) -> None:
    cfg = config(corpus, "exp", epochs=2)
    for u in manifest.read(cfg.data.dev):
        Path(u.audio or "").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="none of the 10 utterances of .*dev.jsonl could be read"):
        train(cfg)


def test_the_log_of_a_resumed_epoch_counts_the_whole_epoch(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    whole, halves = config(corpus, "whole", epochs=1), config(corpus, "halves", epochs=1)
    train(whole)
    trainer, steps = Trainer(halves), []
    take = trainer.take_step

    def stop() -> list:
        steps.append(0)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return take()

    monkeypatch.setattr(trainer, "take_step", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    train(halves)
    one, other = ((corpus / out / "train" / "log.jsonl").read_text() for out in ("whole", "halves"))
    assert one == other


@pytest.mark.parametrize("text", ["", "[]", '{"step": 1}', '{"resume": "resume-none.safetensors"}', '{"resume": 3}'])
def test_a_damaged_resume_point_is_named(stopped: Config, corpus: Path, text: str) -> None:
    (corpus / "exp/train/state.json").write_text(text)
    with pytest.raises(InputError, match="delete"):
        train(stopped)


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [{"step": 10**9}, {"step": 1}, {"step": -1}, {"epoch": 7}, {"epoch": 0}, {"records": []}, {"records": [1]},
     {"loss": "x"}, {"utterances": None}],
)  # fmt: skip
def test_a_resume_point_that_contradicts_itself_is_refused(stopped: Config, corpus: Path, change: dict) -> None:
    """It would end the training early, or with a traceback."""
    change_json(corpus / "exp/train/state.json", lambda state: state.update(change))
    with pytest.raises(InputError, match="cannot resume from .*state.json .*; choose another folder with out=, or del"):
        train(stopped)


def test_a_resume_point_of_other_batches_is_refused(stopped: Config, corpus: Path) -> None:
    folder = corpus / "exp/train"
    (old,) = folder.glob("resume-*")
    old.rename(folder / "resume-00000999.safetensors")
    change_json(folder / "state.json", lambda state: state.update(step=999, resume="resume-00000999.safetensors"))
    with pytest.raises(InputError, match="stopped at step 999 of epoch 2, where these batches have no such step; choo"):
        train(stopped)


@pytest.mark.parametrize("name", ["resume-*.safetensors", "checkpoints/epoch-001.safetensors"])
@pytest.mark.parametrize("fault", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_named_before_training(stopped: Config, corpus: Path, name: str, fault: str) -> None:
    """safetensors has no checksum: other bits would be other weights."""
    (path,) = (corpus / "exp/train").glob(name)
    data = bytearray(path.read_bytes())
    data[-50] ^= 64
    path.unlink() if fault == "gone" else path.write_bytes(data[:-100] if fault == "cut" else data)
    with pytest.raises(InputError, match=f"{path}.*; restore it, or train again in another folder"):
        train(stopped)
    assert json.loads((corpus / "exp/train/state.json").read_text())["epoch"] == 1


def test_a_changed_token_table_is_named(stopped: Config, corpus: Path) -> None:
    """In another order its symbols stand for other outputs of the net."""
    path = corpus / "exp/train/tokens.txt"
    symbols = path.read_text()
    first, *others = symbols.splitlines()
    path.write_text("\n".join([first, *reversed(others)]) + "\n")
    with pytest.raises(InputError, match="tokens.txt has changed since the training began, .*; restore it, or"):
        train(stopped)
    path.unlink()
    train(stopped)
    assert path.read_text() == symbols
    path.write_text("\n".join([first, *reversed(others)]) + "\n")
    with pytest.raises(InputError, match="tokens.txt has changed"):
        load_model(stopped)


def test_a_training_of_a_later_version_is_named(stopped: Config, corpus: Path) -> None:
    change_json(corpus / "exp/train/config.json", lambda settings: settings["optim"].update(schedule="step"))
    with pytest.raises(InputError, match="the option optim.schedule, which this version does not know; use the versio"):
        train(stopped)


def test_a_training_without_its_options_is_refused(stopped: Config, corpus: Path) -> None:
    """Otherwise it would count as one with any options."""
    (corpus / "exp/train/config.json").unlink()
    stopped.model.hidden += 1
    with pytest.raises(InputError, match="exp/train holds state.json of a training, but no config.json .* or delete"):
        train(stopped)


def test_a_start_that_failed_leaves_nothing_to_resume(corpus: Path) -> None:
    cfg = config(corpus, "exp", epochs=1)
    utterances = manifest.read(cfg.data.dev)
    manifest.write(cfg.data.dev, [replace(u, text="") for u in utterances])
    with pytest.raises(InputError, match="the text of each usable utterance is empty"):
        train(cfg)
    (corpus / "exp/train/tokens.txt").write_text("<blk>\nx\n")  # it was stopped just before config.json
    manifest.write(cfg.data.dev, utterances[1:])
    shutil.copy(corpus / "data/train1.wav", corpus / "data/train0.wav")
    assert train(cfg).exists()
    assert "x" not in (corpus / "exp/train/tokens.txt").read_text().split()


def test_a_damaged_record_of_the_recordings_is_named(stopped: Config, corpus: Path) -> None:
    (corpus / "exp/train/inputs.json").write_text("[]")
    with pytest.raises(InputError, match="inputs.json is not what `asr train` writes for these manifests"):
        train(stopped)


def test_two_trainings_in_one_folder(stopped: Config, corpus: Path) -> None:
    before = {p: p.read_bytes() for p in (corpus / "exp").rglob("*") if p.is_file()}
    with locked(corpus / "exp" / "train"), pytest.raises(InputError, match="exp/train is in use by process"):
        train(stopped)
    assert {p: p.read_bytes() for p in (corpus / "exp").rglob("*") if p.is_file()} == before
    train(stopped)


def test_a_folder_of_a_corpus_is_no_run_folder(corpus: Path) -> None:
    """`out=` that holds a folder `train` with recordings."""
    cfg = config(corpus, "exp")
    (corpus / "exp/train").mkdir(parents=True)
    shutil.copy(corpus / "data/train0.wav", corpus / "exp/train/u.wav")
    with pytest.raises(InputError, match=r"exp/train holds files that `asr train` does not write \(u.wav\)"):
        train(cfg)
    assert os.listdir(corpus / "exp/train") == ["u.wav"]


def test_a_manifest_among_the_files_of_a_training_is_kept(corpus: Path) -> None:
    cfg = config(corpus, "exp")
    (corpus / "exp/train").mkdir(parents=True)
    cfg.data.dev = str(corpus / "exp/train/log.jsonl")
    shutil.copy(corpus / "data/dev.jsonl", cfg.data.dev)
    with pytest.raises(InputError, match="log.jsonl is also an input"):
        train(cfg)
    assert len(manifest.read(corpus / "data/dev.jsonl")) == 10


def test_digests_follow_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = digest(path)
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest(path) != first
    path.write_bytes(b"one")
    assert digest(path) == digest(str(tmp_path / "." / "a")) == first
    assert digest(tmp_path / "missing") is None and digest(None) is None
    path.rename(tmp_path / "a.ark")
    assert digest_of_input(f"{tmp_path}/a.ark:7") == f"{first}:7"
