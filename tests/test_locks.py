"""Locks of folders: one process at a time; a lock left by a dead process is taken over, another host's is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr import locks
from asr.errors import InputError
from asr.locks import locked

HOLD = "import sys, time; from pathlib import Path; from asr.locks import locked\nwith locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"  # noqa: E501
TAKE = "import sys; from pathlib import Path; from asr.locks import locked\nwith locked(Path(sys.argv[1])): print('taken', flush=True); sys.stdin.read()"  # noqa: E501


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_lock_is_held_once_and_released(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on this machine, since 20"):
            with locked(tmp_path / "new"):
                pass
        assert (tmp_path / "new" / locks.NAME).exists()
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(KeyError), locked(tmp_path / "new"):
        raise KeyError
    with locked(tmp_path / "new"):
        pass


def test_another_process_holds_it(tmp_path: Path, holder: subprocess.Popen) -> None:
    with pytest.raises(InputError, match=f"in use by process {holder.pid} on this machine"), locked(tmp_path):
        pass


def test_a_killed_process_leaves_a_lock_that_is_taken_over(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()  # not yet waited for: a zombie
    holder.wait()
    assert (tmp_path / locks.NAME).exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / locks.NAME).read_text())["pid"] == os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="start times of processes come from /proc")
def test_a_zombie_and_a_pid_used_again_hold_nothing(tmp_path: Path, holder: subprocess.Popen) -> None:
    path = tmp_path / locks.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": "another boot 1"}))
    with locked(tmp_path):  # the pid runs, but is another process
        pass
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert locks._start_time(zombie.pid) is None
    zombie.wait()


def test_the_lock_of_another_host_names_the_file_to_delete(tmp_path: Path) -> None:
    path = tmp_path / locks.NAME
    path.write_text(json.dumps({"host": "cluster7", "pid": 12, "started": None, "taken": "2026-01-01 00:00:00"}))
    with pytest.raises(InputError, match=f"process 12 on host cluster7, since 2026-01-01 .* delete {path}"):
        with locked(tmp_path):
            pass
    for damaged in ("", "[]", "{"):
        path.write_text(damaged)
        with pytest.raises(InputError, match=f"delete {path}"), locked(tmp_path):
            pass


def test_of_several_that_find_a_stale_lock_one_takes_it(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    takers = [subprocess.Popen([sys.executable, "-c", TAKE, tmp_path], **pipes) for _ in range(4)]
    said = [taker.stdout.readline() for taker in takers]  # an empty line: refused
    assert said.count("taken\n") == 1
    for taker in takers:
        taker.communicate()


def test_files_of_a_folder_have_locks_of_their_own(tmp_path: Path) -> None:
    with locked(tmp_path, "a.jsonl"), locked(tmp_path, "b.jsonl"), locked(tmp_path):
        with pytest.raises(InputError, match="a.jsonl is in use by process"), locked(tmp_path, "a.jsonl"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    with locked(tmp_path):
        with pytest.raises(InputError, match="in use"), locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
