"""Outputs that are pipes and devices: they get the result and stay what they are."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from asr.cli import main as cli
from asr.files import atomic_write
from asr.locks import locked
from asr.streams import is_stream

ROOT = Path(__file__).parent.parent


def test_a_pipe_gets_the_result(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b\na\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        got: list[str] = []
        reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))  # noqa: B023
        reader.start()
        assert cli.main(["lm", "vocabulary", f"text={tmp_path}/t.txt", f"output={tmp_path}/{name}"]) == 0
        reader.join(10)
        assert got == ["a\nb\n"]
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode) and (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe", "t.txt"]


def test_nothing_is_written_after_an_error() -> None:
    leader, follower = os.openpty()
    name = os.ttyname(follower)
    assert is_stream(name)
    with pytest.raises(KeyError), atomic_write(name) as file:
        file.write("half")
        raise KeyError
    with atomic_write(name, "wb") as file:
        file.write(b"whole\n")
    assert os.read(leader, 100) == b"whole\r\n"
    os.close(leader)
    os.close(follower)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
@pytest.mark.parametrize("target", ["pipe", "file"])
def test_the_standard_output(tmp_path: Path, target: str) -> None:
    """What was printed before and is printed afterwards stays, also if the output is redirected to a file."""
    (tmp_path / "t.txt").write_text("a b\na\n")
    with open(tmp_path / "out.txt", "w+") as out:
        run = subprocess.run(
            [sys.executable, "-m", "asr", "lm", "vocabulary", "text=t.txt", "output=/dev/fd/1"],
            cwd=tmp_path, stdout=out if target == "file" else subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        out.seek(0)
        assert (run.stdout or out.read()) == "a\nb\n2 of 2 words, 100.00% of the text -> /dev/fd/1\n"
    assert run.returncode == 0 and run.stderr == ""


def test_files_and_folders_are_no_streams(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not any(map(is_stream, (tmp_path, tmp_path / "file", tmp_path / "missing", "/dev")))


def test_a_pipe_needs_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with locked(tmp_path, "pipe"), locked(tmp_path, "pipe"):
        assert os.listdir(tmp_path) == ["pipe"]
