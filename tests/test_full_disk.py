"""A place that is full: every writer names it, exits with code 2 and leaves nothing behind.

A limit on the size of files stands for a full disk; writing then fails in the same calls, with EFBIG instead of ENOSPC.
"""

import io
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_outputs import ARPA
from tiny import TOKENS, config, graph_dir, model, noise

from asr import manifest
from asr.cli import main as cli
from asr.manifest import Utterance
from asr.recognizer import bundle

TRAIN = "features.num_bins=8 model=fc hidden=8 layers=1 epochs=1 data.train=m.jsonl data.dev=m.jsonl"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    soundfile.write(folder / "talk.wav", noise(0.6), 16000)
    manifest.write(folder / "m.jsonl", [Utterance("u", str(folder / "talk.wav"), text="a")])
    (folder / "table.csv").write_text("audio,text\ntalk.wav,a\n")
    (folder / "t.txt").write_text("a b\nb a\na\n")
    (folder / "lexicon.txt").write_text("".join(f"{a}{b} {a} {b}\n" for a in "abc" for b in "abc"))
    (folder / "x.arpa").write_text(ARPA)
    (folder / "ref.txt").write_text("u\ta\n")
    cfg = config()
    bundle.write(folder / "model.asr", model(cfg), cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    TOKENS.write(folder / "tokens.txt")
    return folder


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "command,place",
    [
        ("data import table.csv output=full/m.jsonl", "full/m.jsonl"),
        ("data check m.jsonl output=full", "full/m.clean.jsonl"),
        ("features m.jsonl output=full/f.jsonl", "full/f"),
        ("text clean t.txt output=full/c.txt", "full/c.txt"),
        ("lexicon t.txt g2p.model=none output=full/l.txt", "full/l.txt"),
        ("g2p train lexicon.txt order=2 output=full/g.npz", "full/g.npz"),
        ("lm train text=t.txt order=2 arpa=full/lm.arpa", "full/lm.arpa"),
        ("lm train text=t.txt order=2 arpa=full/lm.arpa.gz", "full/lm.arpa.gz"),
        ("lm count t.txt output=full/t.counts", "full/t.counts"),
        ("lm ppl x.arpa t.txt output=full/s.tsv", "full/s.tsv"),
        ("lm ppl x.arpa t.txt unknown=full/u.tsv", "full/u.tsv"),
        ("lm prune arpa=x.arpa size=4 output=full/p.arpa", "full/p.arpa"),
        ("lm convert x.arpa full/x.arpa.xz", "full/x.arpa.xz"),
        ("lm convert x.arpa full/x.ngram", "full/x.ngram"),
        ("lm vocabulary text=t.txt output=full/v.txt", "full/v.txt"),
        ("graph table=tokens.txt arpa=x.arpa dir=full/g", "full/g"),
        ("graph kind=dynamic table=tokens.txt arpa=x.arpa dir=full/g", "full/g"),
        (f"train out=full {TRAIN}", "full/train"),
        ("score ref=ref.txt hyp=ref.txt dir=full resamples=10", "full/score.txt"),
        ("transcribe model.asr talk.wav output=full/hyp.jsonl", "full/hyp.jsonl"),
        ("transcribe model.asr talk.wav output=full/", "full/talk.json"),
    ],
)
def test_a_full_disk_is_named(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str,
    place: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(inputs)
    words = [word.replace("full", str(tmp_path / "full")) for word in command.split()]
    with largest_file(0):
        assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path}/{place}" in err and "File too large" in err, err
    left = [p.name for p in (tmp_path / "full").rglob("*") if p.is_file() and p.stat().st_size]
    assert left == []


def test_a_full_standard_output_is_named(inputs: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "asr", "lm", "ppl", "x.arpa", "t.txt"],
            cwd=inputs, stdout=full, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip
    assert run.returncode == 2
    assert "No space left on device: the standard output" in run.stderr and "Traceback" not in run.stderr


def test_a_reader_that_ends_stops_the_verb(inputs: Path, tmp_path: Path) -> None:
    """`asr transcribe ... output=FILE | head`: FILE is not written, so the exit code must not be 0."""
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [sys.executable, "-m", "asr", "transcribe", "model.asr", "talk.wav", f"output={tmp_path}/hyp.jsonl"],
        cwd=inputs, stdout=writer, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    os.close(writer)
    assert run.returncode == 2
    assert run.stderr.endswith("the program that reads the output ended before the verb; the same command continues "
                               "where it stopped\n")  # fmt: skip


def test_an_output_that_cannot_show_the_text(inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(inputs)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert cli.main(["lm", "vocabulary", "text=t.txt", "output=한국.txt"]) == 2
    assert "the standard output is ascii, which cannot show" in capsys.readouterr().err


def test_a_file_name_that_is_not_utf8(inputs: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    bad = os.fsdecode(b"c/x\xff")
    os.mkdir("c")
    try:
        shutil.copy(inputs / "talk.wav", f"{bad}.wav")
    except OSError:
        pytest.skip("the file system takes no such name")
    Path(f"{bad}.txt").write_text("a\n")
    for command in ("data import c output=m.jsonl", f"transcribe {inputs}/model.asr c output=h.jsonl",
                    f"transcribe {inputs}/model.asr c output=h/"):  # fmt: skip
        assert cli.main(command.split()) == 2
        err = capfd.readouterr().err
        assert "c/x\\xff.wav is not UTF-8; rename the file" in err, err
    assert os.listdir() == ["c"]


def test_the_limit_stands_for_a_full_disk(tmp_path: Path) -> None:
    with largest_file(0), pytest.raises(OSError, match="File too large"), open(tmp_path / "a", "wb", 0) as file:
        file.write(np.zeros(9).tobytes())
