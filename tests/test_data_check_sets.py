"""Which manifests `asr data check` reads if none is named."""

import numpy as np

from asr import manifest
from asr.cli import main as cli
from asr.manifest import Utterance


def test_general_speech_is_checked_with_the_other_sets(make_wav, tmp_path, capsys):
    """data.replay is trained on, and data.general_dev judges: neither may share a recording with another set."""
    for seed, name in enumerate(("train", "dev", "general")):
        samples = 0.1 * np.random.default_rng(seed).standard_normal(16000)
        manifest.write(tmp_path / f"{name}.jsonl", [Utterance(name, str(make_wav(f"{name}.wav", samples)), text="one")])
    judge = tmp_path / "judge.jsonl"
    manifest.write(judge, [Utterance("other", str(tmp_path / "train.wav"), text="one")])
    options = [f"data.dir={tmp_path}", f"data.replay={tmp_path}/general.jsonl", f"data.general_dev={judge}"]
    assert cli.main(["data", "check", *options, f"output={tmp_path}/out"]) == 2
    shown = capsys.readouterr()
    assert "general.jsonl" in shown.out and "judge.jsonl" in shown.out and "0 utterances kept" in shown.err
