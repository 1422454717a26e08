"""A training that starts from a trained or imported recogniser."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from ctranslate2_model import model_bytes, weights, write_model

from asr import manifest, pipeline
from asr.cli.main import main
from asr.config import Config
from asr.errors import InputError
from asr.features import audio
from asr.features.encoders import open_encoder, write_encoder
from asr.recognizer import bundle, run_folder
from asr.tokens import Tokens
from asr.training.trainer import Trainer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tones.corpus(tmp_path, 12, 3)


def log_probs(run: Path) -> tuple[np.ndarray, list[str]]:
    """Those of the first dev utterance, and the tokens."""
    folder = run_folder.for_sound(Config(out=str(run)))
    model, tokens = run_folder.load_model(folder)
    x = torch.from_numpy(audio.load(str(run.parent / "dev0.wav")))
    return model.score([x])[0].numpy(), tokens.symbols


def continued(corpus: Path, out: str = "second", lr: float = 0.0, **features: object) -> Config:
    """A training from `first` whose weights stay as they are if `lr` is 0."""
    cfg = tones.config(corpus, out, **features)
    cfg.init, cfg.optim.lr, cfg.optim.epochs = str(corpus / "first"), lr, 1
    return cfg


def test_the_net_is_that_of_the_start(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.train(tones.config(corpus, "first"))
    pipeline.train(continued(corpus))
    before, after = log_probs(corpus / "first"), log_probs(corpus / "second")
    assert before[1] == after[1]
    np.testing.assert_array_equal(before[0], after[0])
    assert "first/train/final.safetensors: kept 4 of 4 tokens\n" in capsys.readouterr().out


def test_the_outputs_follow_the_token_table(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another order, a new token, a token less."""
    pipeline.train(tones.config(corpus, "first"))
    before, symbols = log_probs(corpus / "first")
    for number, table in enumerate((["<blk>", "c", "a", "b"], ["<blk>", "x", "b", "c", "a", "y"])):
        Tokens(table).write(corpus / "table")
        cfg = continued(corpus, f"second{number}")
        cfg.tokens.table = str(corpus / "table")
        pipeline.train(cfg)
        after, found = log_probs(corpus / f"second{number}")
        assert found == table
        at = [found.index(symbol) for symbol in symbols]
        relative = after[:, at] - after[:, [0]]
        np.testing.assert_allclose(relative, before - before[:, [0]], atol=1e-5)
        if number == 0:
            np.testing.assert_allclose(after[:, at], before, atol=1e-6)
        else:
            assert (after[:, [1, 5]] < after[:, at].max(1, keepdims=True)).all()  # new ones are not heard yet
    assert "kept 4 of 4 tokens, 2 new: x y\n" in capsys.readouterr().out


def test_tokens_that_are_gone_are_named(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.train(tones.config(corpus, "first"))
    tones.write(corpus, "train", 12, letters="abd")
    pipeline.train(continued(corpus))
    assert log_probs(corpus / "second")[1] == ["<blk>", "a", "b", "c", "d"]  # a start's token is not lost silently
    Tokens(["<blk>", "a", "b", "d"]).write(corpus / "table")
    cfg = continued(corpus, "third")
    cfg.tokens.table = str(corpus / "table")
    tones.write(corpus, "dev", 3, letters="abd")
    pipeline.train(cfg)
    assert "kept 4 of 4 tokens, 1 new: d\n" in (out := capsys.readouterr().out)
    assert "kept 3 of 4 tokens, 1 new: d, 1 gone: c\n" in out


def test_a_training_from_a_start_resumes_to_the_same_bits(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.train(tones.config(corpus, "first"))
    whole = continued(corpus, "whole", lr=1e-2)
    stopped = continued(corpus, "stopped", lr=1e-2)
    whole.optim.epochs = stopped.optim.epochs = 2
    final = pipeline.train(whole)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "is_stale", lambda self: self.state["epoch"] == 1)
        pipeline.train(stopped).unlink()
    assert pipeline.train(stopped).read_bytes() == final.read_bytes()


def test_a_bundle_brings_its_encoder(corpus: Path) -> None:
    """Its layers are trained with the net, then frozen; the run folder can be moved."""
    write_model(corpus / "whisper")
    options = {"kind": "pretrained", "shift_ms": 20.0, "cmvn": "none"}
    cfg = tones.config(corpus, "first", encoder=str(corpus / "whisper"), **options)
    pipeline.train(cfg)
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    packed = pipeline.bundle(cfg)
    before, _ = log_probs(corpus / "first")
    shutil.rmtree(corpus / "whisper")
    tuned = continued(corpus, layer=1, **options)
    tuned.init, tuned.model.tune_layers, tuned.optim.tune_lr = str(packed), 1, 0.0
    pipeline.train(tuned)
    np.testing.assert_allclose(log_probs(corpus / "second")[0], before, atol=1e-5)
    tuned.out, tuned.optim.lr, tuned.optim.tune_lr = str(corpus / "third"), 1e-2, 1e-2
    pipeline.train(tuned)
    (corpus / "third").rename(corpus / "moved")
    after, _ = log_probs(corpus / "moved")
    (corpus / "moved/train/final.safetensors").unlink()
    tuned.out = str(corpus / "moved")
    pipeline.train(tuned)
    np.testing.assert_array_equal(log_probs(corpus / "moved")[0], after)
    assert np.abs(after - before).max() > 0.1
    frozen = continued(corpus, "fourth", **options)
    frozen.init = str(corpus / "moved")
    pipeline.train(frozen)
    np.testing.assert_allclose(log_probs(corpus / "fourth")[0], after, atol=1e-5)


def test_the_encoder_of_a_start_that_failed_is_replaced(corpus: Path) -> None:
    """The net of the second start never runs on the encoder of the first one, nor on one put there later."""
    options = {"kind": "pretrained", "shift_ms": 20.0, "cmvn": "none"}
    for name, scale in (("first", 1.0), ("other", 0.5)):
        (corpus / f"whisper-{name}").mkdir()
        scaled = {key: (scale * x).astype(x.dtype) if x.dtype.kind == "f" else x for key, x in weights().items()}
        (corpus / f"whisper-{name}/model.bin").write_bytes(model_bytes(scaled))
        pipeline.train(tones.config(corpus, name, encoder=str(corpus / f"whisper-{name}"), **options))
    failed, cfg = continued(corpus, **options), continued(corpus, **options)
    failed.data.dev = str(corpus / "nowhere.jsonl")
    with pytest.raises(InputError, match="nowhere"):
        pipeline.train(failed)
    assert (corpus / "second/train/encoder/config.json").exists()
    cfg.init = str(corpus / "other")
    pipeline.train(cfg)
    np.testing.assert_allclose(log_probs(corpus / "second")[0], log_probs(corpus / "other")[0], atol=1e-5)
    (corpus / "second/train/final.safetensors").unlink()
    write_encoder(open_encoder(str(corpus / "whisper-first")), corpus / "second/train/encoder")
    with pytest.raises(InputError, match="encoder is not the encoder of init=.*other"):
        pipeline.train(cfg)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cfg: setattr(cfg.features, "num_bins", 21), r"has features.num_bins=20, but this training .*=21; set"),
        (lambda cfg: setattr(cfg.features, "cmvn", "utterance"), "features.cmvn=global"),
        (lambda cfg: setattr(cfg.model, "hidden", 17), "model.hidden=16"),
        (lambda cfg: setattr(cfg.tokens, "unit", "jamo"), "tokens.unit=char"),
        (lambda cfg: setattr(cfg, "init", "nowhere.asr"), "there is no bundle nowhere.asr"),
        (lambda cfg: setattr(cfg, "out", cfg.init), "final.safetensors is also an input"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(corpus: Path, change, message: str) -> None:
    pipeline.train(tones.config(corpus, "first"))
    cfg = continued(corpus)
    change(cfg)
    with pytest.raises(InputError, match=message):
        pipeline.train(cfg)


def test_another_encoder_or_layer_is_refused(corpus: Path) -> None:
    write_model(corpus / "whisper")
    options = {"kind": "pretrained", "shift_ms": 20.0, "cmvn": "none"}
    pipeline.train(tones.config(corpus, "first", encoder=str(corpus / "whisper"), **options))
    with pytest.raises(InputError, match="brings its own encoder; leave out features.encoder"):
        pipeline.train(continued(corpus, encoder=str(corpus / "whisper"), **options))
    with pytest.raises(InputError, match="reads layer 2 of its encoder, but .* lead to layer 1"):
        pipeline.train(continued(corpus, layer=1, **options))


def test_the_command_line_repeats_the_options_of_the_start(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.train(tones.config(corpus, "first"))
    words = ["train", f"init={corpus}/first", f"out={corpus}/second", f"data.dir={corpus}", "epochs=1", "augment=none"]
    assert main(words) == 0
    assert "features.num_bins=20" in capsys.readouterr().err
    assert main([*words[:2], f"out={corpus}/third", *words[3:], "hidden=24"]) == 2
    assert main([*words[:2], f"out={corpus}/third", *words[3:], "model=cnn"]) == 2
    assert "has model.kind=fc, but this training model.kind=cnn" in capsys.readouterr().err
    assert main(["train", *words[2:]]) == 2  # not the same training without `init`
    assert "holds a training with" in capsys.readouterr().err


def test_a_start_that_changes_is_noticed(corpus: Path) -> None:
    cfg = tones.config(corpus, "first")
    pipeline.train(cfg)
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    packed = pipeline.bundle(cfg)
    second = continued(corpus)
    second.init = str(packed)
    pipeline.train(second)
    assert f"started from: {packed}" in run_folder.card(run_folder.as_trained(second))
    other = copy.deepcopy(bundle.read(packed))
    bundle.write(packed, other.model, other.cfg, other.tokens, None, "another card")
    with pytest.raises(InputError, match="another init: the content of .*model.asr has changed since"):
        pipeline.train(second)
    assert len(manifest.read(corpus / "train.jsonl")) == 12


def test_the_layer_leaves_room_for_those_that_are_trained(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first training read all layers; the second one, below it, trains one of them and names no layer."""
    write_model(corpus / "whisper")
    options = {"kind": "pretrained", "shift_ms": 20.0, "cmvn": "none"}
    pipeline.train(tones.config(corpus, "first", encoder=str(corpus / "whisper"), **options))
    words = ["train", f"init={corpus}/first", f"out={corpus}/second", f"data.dir={corpus}", "epochs=1", "augment=none"]
    assert main([*words, "model.tune_layers=1"]) == 0
    assert "features.layer=1" in capsys.readouterr().err
    assert main([*words, "model.tune_layers=3", f"out={corpus}/third"]) == 2
    assert "layer" in capsys.readouterr().err
