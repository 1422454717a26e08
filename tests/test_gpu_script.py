"""`make gpu-test` without a GPU: it refuses, its driver reports every part, and its parts are right on a CPU."""

import subprocess
import sys
from pathlib import Path

import graphed
import pytest
import torch
from gpu import __main__ as driver
from gpu import parts, trainings

from asr.training import trainer

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "gpu", str(tmp_path / "log")]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True)
    assert done.returncode == 2 and "finds no CUDA GPU here" in done.stderr and not list(tmp_path.iterdir())


def test_every_part_is_run_and_reported(tmp_path):
    log = driver.Log(tmp_path / "log")
    listed = [
        driver.Part("good", ("-c", "print('fine')"), 60),
        driver.Part("bad", ("-c", "raise SystemExit('wrong')"), 60),
        driver.Part("slow", ("-c", "import time; print('begins', flush=True); time.sleep(60)"), 6),
        driver.Part("missing tool", (), 60, ("no-such-sanitizer",)),
    ]
    states = driver.run_all(listed, log, lambda: 300)
    assert states == {"good": "passed", "bad": "failed", "slow": "failed", "missing tool": "skipped"}
    text = (tmp_path / "log").read_text()
    assert all(word in text for word in ("fine", "wrong", "begins", "stopped after 6 s", "no-such-sanitizer is not"))
    assert driver.run_all(listed[:1], log, lambda: 1) == {"good": "skipped"}


def test_the_listed_parts_exist():
    names = [part.words[1] for part in driver.parts() if part.words[0] == driver.PARTS]
    assert set(names) == set(parts.PARTS)
    names = [part.words[1] for part in driver.parts() if part.words[0] == driver.TRAININGS]
    assert set(names) == set(trainings.PARTS)
    assert all((ROOT / word).is_file() for part in driver.parts() for word in part.words if word.startswith("tests/"))
    assert sum(part.limit_s for part in driver.parts()[:5]) <= driver.LIMIT_S


def test_steps_of_the_parts_on_the_cpu():
    arguments = parts.draw(20, 3, 9, 4, device="cpu")
    parts.check_equal(parts.step(parts.ours, *arguments), arguments)
    with pytest.raises(AssertionError):
        parts.check_equal(tuple(2 * t for t in parts.step(parts.ours, *arguments)), arguments)


@pytest.mark.parametrize("part", ["training", "sanitized"])
def test_parts_that_need_no_gpu_features(monkeypatch, part):
    monkeypatch.setattr(parts, "DEVICE", "cpu")
    draw = parts.draw
    monkeypatch.setattr(parts, "draw", lambda *shape: draw(*shape, device="cpu"))
    parts.PARTS[part]()


def test_throughput_on_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(trainings, "DEVICE", "cpu")
    trainings.throughput(4, 3, kind="fc", hidden=8, layers=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "seconds of audio per second" in line]
    assert [line.split(":")[0] for line in lines] == [
        f"{p}, data.workers={w}" for p, w in (("fp32", 0), ("fp16", 0), ("bf16", 0), ("bf16", 8))
    ]


def test_trainings_with_graphs_on_the_cpu(monkeypatch, capsys):
    """Where they are emulated."""
    graphed.on_the_cpu(monkeypatch)
    monkeypatch.setattr(trainer, "check_cuda_graphs", lambda cfg: None)
    monkeypatch.setattr(trainings, "DEVICE", "cpu")
    monkeypatch.setattr(trainings.cuda_graphs, "MOST", 0)
    trainings.graphs(8, 3, hidden=8, layers=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "with graphs" in line]
    assert [line.partition(":")[0] for line in lines] == ["cnn, fp32", "conformer, fp32", "conformer, bf16"]
