"""A net trained on stored features, bundled behind the front end that made them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import tiny

import asr
from asr import manifest
from asr.cli import main as cli
from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features import recorded
from asr.features.files import load_features
from asr.recognizer import bundle

MADE = ["features.num_bins=9", "features.high_hz=5000", "features.floor=2.0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder trained on features that `asr features` stored, with its bundle."""
    folder = tmp_path_factory.mktemp("recorded")
    utterances = []
    for number in range(4):
        path = folder / f"{number}.wav"
        soundfile.write(path, tiny.noise(0.6, number), 16000)
        utterances.append(manifest.Utterance(str(number), str(path), text="ab"))
    manifest.write(folder / "sound.jsonl", utterances)
    assert cli.main(["features", f"{folder}/sound.jsonl", f"output={folder}/stored.jsonl", *MADE]) == 0
    sets = [f"data.{split}={folder}/stored.jsonl" for split in ("train", "dev")]
    trained = ["features=stored", "features.num_bins=9", "features.deltas=1", "features.cmvn=global"]
    out = f"out={folder}/run"
    assert cli.main(["train", out, *sets, *trained, "experiment=tiny", "hidden=8", "epochs=1"]) == 0
    assert cli.main(["bundle", out, "graph.kind=none"]) == 0
    return folder


def test_a_bundle_of_stored_features_takes_sound(run: Path) -> None:
    assert bundle.read(run / "run/model.asr").space is None
    sound = asr.load(run / "run/model.asr")
    assert sound.cfg.features == FeaturesConfig(num_bins=9, high_hz=5000, floor=2.0, deltas=1, cmvn="global")
    (run / "run/train/frontend.json").rename(run / "kept.json")
    try:
        assert cli.main(["bundle", f"out={run}/run", "graph.kind=none", f"bundle={run}/stored.asr"]) == 0
    finally:
        (run / "kept.json").rename(run / "run/train/frontend.json")
    stored = asr.load(run / "stored.asr")
    assert stored.cfg.features.kind == "stored"
    features = load_features(run / "stored/2.npy")
    assert sound.transcribe(run / "2.wav").cost == pytest.approx(stored.transcribe(features).cost, rel=1e-4)


def test_a_training_goes_on_from_the_bundle_on_stored_features(run: Path, tmp_path: Path) -> None:
    """Chosen by an experiment file, which the features of the start, those of sound, would otherwise override."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/on.yaml").write_text(
        "# @package _global_\ndefaults:\n  - tiny\n  - override /features: stored\n  - _self_\n"
        "features: {num_bins: 9, cmvn: none}\nmodel: {hidden: 8}\noptim: {epochs: 1}\n"
    )
    sets = [f"data.{split}={run}/stored.jsonl" for split in ("train", "dev")]
    words = ["train", f"out={tmp_path}/second", f"init={run}/run/model.asr", *sets]
    assert cli.main([*words, f"--config-dir={tmp_path}", "experiment=on"]) == 0
    features = json.loads((tmp_path / "second/train/config.json").read_text())["features"]
    assert (features["kind"], features["num_bins"], features["deltas"], features["cmvn"]) == ("stored", 9, 1, "global")


def test_the_record_moves_with_the_run_folder(run: Path) -> None:
    record = recorded.read(run / "run/train/frontend.json")
    assert record == recorded.read(run / "stored/config.json") and record is not None and record.kind == "logmel"


def test_another_front_end_is_refused(tmp_path: Path) -> None:
    features = FeaturesConfig(num_bins=9)
    recorded.record(features, tmp_path / "a/config.json")
    recorded.record(replace(features, cmvn="none", deltas=2), tmp_path / "a/config.json")
    with pytest.raises(InputError, match="another configuration"):
        recorded.record(replace(features, low_hz=100.0), tmp_path / "a/config.json")
    with pytest.raises(InputError, match="9 values per frame, the net was trained on 13"):
        recorded.behind(features, FeaturesConfig(kind="stored", num_bins=13))
    (tmp_path / "b.json").write_text(json.dumps({"bins": 3}))
    with pytest.raises(InputError, match="b.json does not record a front end"):
        recorded.read(tmp_path / "b.json")
    assert recorded.read(tmp_path / "absent.json") is None
