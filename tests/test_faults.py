"""Bad input through the command line: one sentence that names the file, line or field and the remedy, exit code 2,
and nothing half-written. One test per fault.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import TOKENS, config, graph_dir, model, noise

from asr.cli import main as cli
from asr.recognizer import bundle
from asr.tokens import BLANK
from asr.training import checkpoint

RATE_HZ = 16000
ARPA = """\
\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0\t<s>\t-0.3
-1.0\t</s>
-0.5\ta\t-0.3
-0.5\tb\t-0.3

\\2-grams:
-0.2\t<s> a
-0.2\ta </s>

\\end\\
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run folder with everything in order: a trained net, graph, bundle, ARPA file, a sound, manifests."""
    out = tmp_path / "run"
    cfg = config()
    net = model(cfg)
    (out / "train").mkdir(parents=True)
    trained = {"features": dataclasses.asdict(cfg.features), "model": dataclasses.asdict(cfg.model)}
    (out / "train" / "config.json").write_text(json.dumps(trained | {"tokens": {"unit": "char"}}))
    TOKENS.write(out / "train" / "tokens.txt")
    checkpoint.write_tensors(out / "train" / "final.safetensors", net.state_dict())
    graph_dir(out / "graph")
    bundle.write(out / "model.asr", net, cfg, TOKENS, out / "graph", "# tiny\n")
    (out / "lm.arpa").write_text(ARPA)
    soundfile.write(out / "good.wav", noise(0.5), RATE_HZ)
    (out / "data").mkdir()
    for split in ("train", "dev", "test"):
        line = {"id": f"{split}1", "audio": str(out / "good.wav"), "text": "a b", "duration_s": 0.5}
        (out / "data" / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
    return out


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Fault:
    """Calls `asr`, which must fail with one sentence; returns the sentence."""

    def __init__(self, out: Path, capsys: pytest.CaptureFixture):
        self.out, self.capsys = out, capsys

    def __call__(self, *argv: str | Path, says: tuple[str, ...], leaves: tuple[str, ...] = ()) -> None:
        before = contents(self.out)
        place = [] if argv[0] == "features" else [f"out={self.out}"]  # `asr features` knows no run folder
        code = cli.main([*map(str, argv), *place])
        last_line = self.capsys.readouterr().err.rstrip("\n").split("\n")[-1]
        assert code == 2, last_line
        assert last_line.startswith("asr: error: "), last_line
        for part in says:
            assert part in last_line, last_line
        new = {p for p, data in contents(self.out).items() if before.get(p) != data}
        assert {str(p.relative_to(self.out)) for p in new} <= set(leaves), "something was left half-written"


@pytest.fixture
def fault(out: Path, capsys: pytest.CaptureFixture) -> Fault:
    return Fault(out, capsys)


def test_without_a_fault_all_verbs_succeed(out: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["transcribe", f"{out}/model.asr", f"{out}/good.wav"]) == 0
    assert "good.wav: " in capsys.readouterr().out
    assert cli.main(["decode", f"out={out}"]) == 0
    assert cli.main(["score", f"out={out}"]) == 0
    assert cli.main(["bundle", f"out={out}"]) == 0


# Sound


def test_missing_file(out: Path, fault: Fault) -> None:
    fault("transcribe", out / "model.asr", out / "nowhere.wav", says=("nowhere.wav", "does not exist"))


def test_empty_file(out: Path, fault: Fault) -> None:
    (out / "empty.wav").touch()
    fault("transcribe", out / "model.asr", out / "empty.wav", says=("empty.wav", "empty"))


def test_text_as_audio(out: Path, fault: Fault) -> None:
    (out / "notes.wav").write_text("these are words, no sounds\n" * 50)
    fault("transcribe", out / "model.asr", out / "notes.wav", says=("notes.wav",))


def test_truncated_flac(out: Path, fault: Fault) -> None:
    soundfile.write(out / "whole.flac", noise(2.0), RATE_HZ)
    data = (out / "whole.flac").read_bytes()
    (out / "cut.flac").write_bytes(data[: len(data) // 2])
    fault("transcribe", out / "model.asr", out / "cut.flac", says=("cut.flac",))


def test_nan_samples(out: Path, fault: Fault) -> None:
    x = noise(0.5)
    x[100] = np.nan
    soundfile.write(out / "nan.wav", x, RATE_HZ, subtype="FLOAT")
    fault("transcribe", out / "model.asr", out / "nan.wav", says=("nan.wav", "NaN"))


def test_one_bad_file_among_good_ones(out: Path, fault: Fault) -> None:
    (out / "empty.wav").touch()
    argv = ("transcribe", out / "model.asr", out / "empty.wav", out / "good.wav", f"output={out}/hyp.jsonl")
    fault(*argv, says=("empty.wav",), leaves=("hyp.jsonl",))
    assert len((out / "hyp.jsonl").read_text().splitlines()) == 1


# Corpora, tokens, lexicon


@pytest.mark.parametrize("verb", ["train", "decode"])
def test_no_utterances(out: Path, fault: Fault, verb: str) -> None:
    (out / "data" / "none.jsonl").touch()
    if verb == "train":
        shutil.rmtree(out / "train")
    split = "train" if verb == "train" else "test"
    fault(
        verb, f"data.{split}={out}/data/none.jsonl", says=("none.jsonl", "0 utterances"), leaves=("train/config.json",)
    )


def test_broken_line_of_a_manifest(out: Path, fault: Fault) -> None:
    with open(out / "data" / "test.jsonl", "a") as file:
        file.write('{"id": "x", "audio": 3}\n')
    fault("decode", says=("test.jsonl:2", "audio"))


def test_unknown_token(out: Path, fault: Fault) -> None:
    (out / "lexicon.txt").write_text("a z\nb y a\n")
    fault("graph", f"graph.lexicon={out}/lexicon.txt", f"graph.dir={out}/g", says=("token table", "a, b"))


def test_empty_lexicon(out: Path, fault: Fault) -> None:
    (out / "lexicon.txt").touch()
    fault("graph", f"graph.lexicon={out}/lexicon.txt", f"graph.dir={out}/g", says=("lexicon.txt", "empty"))


# Language model, graph, bundle


def test_arpa_with_a_wrong_count(out: Path, fault: Fault) -> None:
    (out / "bad.arpa").write_text(ARPA.replace("ngram 2=2", "ngram 2=3"))
    fault("graph", f"lm.arpa={out}/bad.arpa", f"graph.dir={out}/g", says=("bad.arpa:", "\\data\\"))


def test_no_text_for_the_language_model(out: Path, fault: Fault) -> None:
    fault("lm", "train", f"text={out}/nowhere.txt", f"arpa={out}/new.arpa", says=("nowhere.txt",))


@pytest.mark.parametrize("verb", ["decode", "tune", "bundle"])
def test_graph_of_another_token_set(out: Path, fault: Fault, verb: str) -> None:
    graph_dir(out / "other", [BLANK, "b", "a", "<space>"])
    place = [f"bundle={out}/new.asr"] if verb == "bundle" else []
    fault(verb, f"graph.dir={out}/other", *place, says=("other", "token set", "asr graph"))


def test_no_graph(out: Path, fault: Fault) -> None:
    fault("decode", f"graph.dir={out}/nowhere", says=("nowhere",))


def test_nothing_trained(fault: Fault) -> None:
    (fault.out / "train" / "config.json").unlink()
    fault("decode", says=("no trained model", "asr train"))


@pytest.mark.parametrize("member", ["model.safetensors", "config.json", "tokens.txt", "graph.bin", "words.txt"])
def test_bundle_with_a_flipped_byte(out: Path, fault: Fault, member: str) -> None:
    data = bytearray((out / "model.asr").read_bytes())
    content = zipfile.ZipFile(out / "model.asr").read(member)
    data[data.index(content) + len(content) // 2] ^= 0x10
    (out / "bad.asr").write_bytes(data)
    fault("transcribe", out / "bad.asr", out / "good.wav", says=("bad.asr", member))


def test_scores_of_different_sets(out: Path, fault: Fault) -> None:
    (out / "hyp.txt").write_text("other1\ta b\n")
    fault("score", f"hyp={out}/hyp.txt", says=("share no id",))


# Missing words


def test_verbs_name_missing_arguments(fault: Fault) -> None:
    fault("transcribe", says=("sound files",))
    fault("features", says=("exactly one file",))
    fault("features", fault.out / "data" / "test.jsonl", says=("output=",))


def test_a_fault_in_a_separate_process(out: Path) -> None:
    """As a user sees it: nothing on stdout, no traceback."""
    argv = [sys.executable, "-m", "asr", "transcribe", f"{out}/model.asr", f"{out}/nowhere.wav"]
    run = subprocess.run(argv, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1 and "nowhere.wav" in run.stderr
