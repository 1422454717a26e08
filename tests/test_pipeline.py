"""The main verbs as Python functions, a run folder opened as a bundle, and options that may change on resuming."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_verbs import write_corpus

import asr
from asr import manifest
from asr.cli import main as cli
from asr.config import (
    AugmentConfig,
    Config,
    DataConfig,
    FeaturesConfig,
    GraphConfig,
    LmConfig,
    ModelConfig,
    OptimConfig,
    TokensConfig,
    check_choices,
)
from asr.data.importers import import_corpus
from asr.errors import InputError

CHAIN = """
import sys, asr
from pathlib import Path
from asr.config import AugmentConfig, FeaturesConfig, LmConfig, ModelConfig, OptimConfig
cfg = asr.Config(
    out=sys.argv[1],
    features=FeaturesConfig(num_bins=16),
    augment=AugmentConfig(speeds=[], silence_s=0, gain_db=[], freq_masks=0, time_masks=0),
    model=ModelConfig(kind="cnn", hidden=32, layers=2, subsampling=2),
    optim=OptimConfig(lr=1e-2, epochs=8, batch_s=6, average=2),
    lm=LmConfig(order=2),
)
assert asr.train(cfg) == Path(cfg.out) / "train" / "final.safetensors"
print(asr.train_lm(cfg))
assert asr.build_graph(cfg)["words"] == 3
assert "states" in asr.forecast_graph(cfg)
best = asr.tune(cfg).best
tuned = asr.tuned(cfg)
assert (tuned.decoder.acoustic_scale, cfg.decoder.acoustic_scale) == (best.acoustic_scale, 1.0)
asr.calibrate(tuned)
cfg = asr.tuned(cfg)
hypotheses = asr.decode(cfg)
assert len(hypotheses) == 16 and (Path(cfg.out) / "decode" / "test" / "hyp.jsonl").exists()
assert asr.score(cfg).wer < 1
assert asr.bundle(cfg) == Path(cfg.out) / "model.asr"
assert "hydra" not in sys.modules, "Hydra was imported"
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made from Python alone."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_corpus(folder / "corpus", 16)
    utterances = import_corpus(str(folder / "corpus"), "folder")
    for split in ("train", "dev", "test"):
        manifest.write(folder / "run" / "data" / f"{split}.jsonl", utterances)
    run = subprocess.run(
        [sys.executable, "-c", CHAIN, str(folder / "run")],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder / "run"


def test_paths_follow_the_run_folder() -> None:
    assert asr.Config(out="exp/my").graph.dir == "exp/my/graph"
    cfg = asr.Config(out="o", data=DataConfig(dir="d"), tokens=TokensConfig(lexicon="l.txt"))
    assert (cfg.data.train, cfg.graph.lexicon, cfg.graph.cache) == ("d/train.jsonl", "l.txt", "o/graph/cache")
    assert asr.Config(out="o", graph=GraphConfig(cache=None)).graph.cache is None
    assert asr.Config(lm=LmConfig(text=["${out}/a.txt", "b.txt"])).lm.text == ["exp/a.txt", "b.txt"]
    data = DataConfig()
    asr.Config(out="a", data=data)
    assert asr.Config(out="b", data=data).data.dev == "b/data/dev.jsonl"
    with pytest.raises(InputError, match="there is no option 'outt'; did you mean 'out'"):
        asr.Config(bundle="${outt}/m.asr")


def test_choices_are_checked_in_python() -> None:
    with pytest.raises(InputError, match="graph.kind=statik: expected one of .* did you mean 'static'"):
        asr.decode(asr.Config(graph=GraphConfig(kind="statik")))
    check_choices(asr.Config())


def test_a_run_folder_opens_as_its_bundle_does(out: Path) -> None:
    sounds = sorted(map(str, (out.parent / "corpus").glob("*.wav")))[:4]
    opened, bundled = asr.load(out), asr.load(out / "model.asr")
    assert opened.cfg.decoder == bundled.cfg.decoder and opened.cfg.features == bundled.cfg.features
    assert [h.words for h in opened.transcribe(sounds)] == [h.words for h in bundled.transcribe(sounds)]
    assert [h.words for h in asr.load(str(out), kind="greedy").transcribe(sounds)]
    with pytest.raises(InputError, match="holds no trained model"):
        asr.load(out.parent)


# Resuming


def config(out: Path | str, data: Path | None = None) -> asr.Config:
    """The configuration of the run folder in CHAIN."""
    return asr.Config(
        out=str(out),
        data=DataConfig(dir=str(data)) if data else DataConfig(),
        features=FeaturesConfig(num_bins=16),
        augment=AugmentConfig(speeds=[], silence_s=0, gain_db=[], freq_masks=0, time_masks=0),
        model=ModelConfig(kind="cnn", hidden=32, layers=2, subsampling=2),
        optim=OptimConfig(lr=1e-2, epochs=8, batch_s=6, average=2),
    )


def is_resumed(cfg: asr.Config, capsys: pytest.CaptureFixture[str]) -> bool:
    asr.train(cfg)
    return "already trained" in capsys.readouterr().out


def test_a_moved_run_folder_is_resumed(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(out, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for name in ("run", "run/", "./run", tmp_path / "run", "run/../run"):
        assert is_resumed(config(name), capsys)
    Path("run").rename("moved")
    assert is_resumed(config("moved"), capsys)
    assert str(tmp_path) not in Path("moved/train/config.json").read_text()
    Path("moved/data").rename("data")
    assert is_resumed(config("moved", Path("data")), capsys) and is_resumed(config("moved", Path("./data")), capsys)


def test_options_that_do_not_shape_the_parameters_may_change(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change in (
        {"threads": 1},
        {"lm": LmConfig(text=["x.txt"], order=5)},
        {"graph": GraphConfig(kind="dynamic", dir="elsewhere")},
        {"optim": replace(config(out).optim, checkpoint_steps=7)},
        {"data": DataConfig(root="r", test="t", cache=False)},
        {"phrases": "p.txt", "split": "dev", "bundle": "b.asr"},
    ):
        assert is_resumed(replace(config(out), **change), capsys)


@pytest.mark.parametrize(
    "change,says",
    [
        ({"seed": 2}, "seed=1"),
        ({"optim": OptimConfig(lr=1e-2, epochs=9, batch_s=6, average=2)}, "optim.epochs=8"),
        ({"augment": AugmentConfig()}, r"augment.speeds=\[\]"),
        ({"tokens": TokensConfig(unit="jamo")}, "tokens.unit=char"),
        ({"data": DataConfig(max_audio_s=3.0)}, "data.max_audio_s=60.0"),
    ],
)
def test_options_that_shape_the_parameters_may_not_change(out: Path, change: dict, says: str) -> None:
    with pytest.raises(InputError, match=f"train holds a training with {says}; choose another folder"):
        asr.train(replace(config(out), **change))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_changed_manifest_is_not_resumed_silently(out: Path, tmp_path: Path, split: str) -> None:
    shutil.copytree(out, tmp_path / "run")
    path = tmp_path / "run" / "data" / f"{split}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=f"another data.{split}: the content of .*{split}.jsonl has changed"):
        asr.train(config(tmp_path / "run"))


def test_a_new_option_at_its_default_changes_nothing(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after an update of the toolkit."""
    shutil.copytree(out, tmp_path / "run")
    path = tmp_path / "run" / "train" / "config.json"
    stored = json.loads(path.read_text())
    del stored["optim"]["patience"], stored["model"]["hidden"]
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="model.hidden=256"):
        asr.train(config(tmp_path / "run"))
    stored["model"]["hidden"] = 32
    path.write_text(json.dumps(stored))
    assert is_resumed(config(tmp_path / "run"), capsys)


def test_a_damaged_config_is_named(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "run")
    (tmp_path / "run" / "train" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="config.json is not what `asr train` writes"):
        asr.train(config(tmp_path / "run"))


def test_a_mistyped_option_cannot_be_set() -> None:
    cfg = asr.Config()
    with pytest.raises(AttributeError, match="OptimConfig has no option 'epoch'; did you mean 'epochs'"):
        cfg.optim.epoch = 3  # type: ignore[attr-defined]


def test_later_verbs_find_the_manifests_of_the_training(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained in one working folder with relative paths, used from another."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    shutil.copytree(out / "data", one / "data")
    (one / "lexicon.txt").write_text("".join(f"{word} {' '.join(word)}\n" for word in ("do", "re", "mi")))
    monkeypatch.chdir(one)
    words = ["experiment=tiny", "num_bins=16", "hidden=32", "epochs=1", "batch_s=6", "lexicon=lexicon.txt"]
    assert cli.main(["train", "out=run", "data.dir=data", *words]) == 0
    monkeypatch.chdir(other)
    run = "out=../one/run"
    for verb in (["lm", "train", "order=2"], ["graph"], ["decode", "split=test"], ["score", "split=test"], ["tune"]):
        assert cli.main([*verb, run]) == 0, capsys.readouterr().err
    assert f"data.test={tmp_path}/one/data/test.jsonl" in capsys.readouterr().err
    assert len((one / "run/decode/test/hyp.jsonl").read_text().splitlines()) == len(
        manifest.read(one / "data/test.jsonl")
    )
    assert (one / "run/graph/lexicon.txt").exists()
    asr.score(Config(out=str(one / "run")))
    shutil.copytree(one / "data", one / "run" / "data")
    capsys.readouterr()
    assert cli.main(["score", run]) == 0 and "as in the training" not in capsys.readouterr().err


def test_tuned_scales_of_another_graph_are_reported(
    out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(out, run)
    cfg = Config(out=str(run))
    assert "lattice_beam=8" in asr.tuned(cfg).decoder.calibrated_for
    assert "made with another" not in caplog.text
    asr.train_lm(replace(cfg, lm=replace(cfg.lm, order=1)))
    asr.build_graph(cfg)
    asr.tuned(cfg)
    for name, verb in (("tune.json", "tune"), ("calibration.json", "calibrate")):
        assert f"{run}/{name} was made with another graph; run `asr {verb}` again" in caplog.text
    tuning = json.loads((run / "tune.json").read_text())
    del tuning["made_with"]  # of an earlier version
    (run / "tune.json").write_text(json.dumps(tuning))
    caplog.clear()
    asr.tuned(cfg)
    assert "tune.json" not in caplog.text
