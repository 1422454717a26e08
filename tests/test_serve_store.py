"""The service's database fails for real: locked, full, PostgreSQL ended. Callers get 503; nothing is counted twice."""

import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from killed import kill_after
from postgres import Postgres

from asr.serve.access import Caller
from asr.serve.keys import Keys
from asr.serve.store import Store, Unavailable

ROOT = Path(__file__).parent.parent


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "serve.db"


def calls(keys: Keys) -> int:
    return keys.list()[0].calls


def test_a_locked_database_answers_503_and_goes_on(place: Path) -> None:
    store = Store(str(place), busy_s=0.3)
    keys = Keys(store)
    caller = keys.authorise(keys.add("a"))
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start_s = time.monotonic()
    with pytest.raises(Unavailable) as e:
        keys.charge(caller)
    assert 0.25 < time.monotonic() - start_s < 5
    assert (e.value.status, e.value.retry_after_s) == (503, 5.0)
    assert "database is locked" in e.value.reason and str(place) not in e.value.message
    other.execute("ROLLBACK")
    keys.charge(caller)
    assert calls(keys) == 1


def test_a_short_lock_is_waited_for(place: Path) -> None:
    keys = Keys(Store(str(place)))
    caller = keys.authorise(keys.add("a"))
    other = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, other.execute, ("COMMIT",)).start()
    keys.charge(caller)
    assert calls(keys) == 1


def test_threads_that_write_wait_in_line(place: Path) -> None:
    store = Store(str(place), busy_s=0.3)
    keys = Keys(store)
    refused: list[Unavailable] = []

    def add() -> None:
        with pytest.raises(Unavailable) as e:
            keys.add("a")
        refused.append(e.value)

    with store.write():
        thread = threading.Thread(target=add)
        thread.start()
        thread.join()
    assert "locked by another request" in refused[0].reason
    keys.add("a")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_answers_503_and_goes_on(tmp_path: Path) -> None:
    if not shutil.which("mount"):
        pytest.skip("needs mount")
    with small_disk(tmp_path / "disk") as disk:
        store = Store(str(disk / "serve.db"))
        keys = Keys(store)
        caller = keys.authorise(keys.add("a"))
        keys.charge(caller)
        with open(disk / "rest", "wb", buffering=0) as rest, pytest.raises(OSError, match="No space left"):
            while True:
                rest.write(bytes(4096))
        counted, refused = 0, 0
        for _ in range(200):  # the room that SQLite has already is used up first
            try:
                keys.charge(caller)
                counted += 1
            except Unavailable as e:
                assert "full" in e.reason or "disk I/O" in e.reason
                refused += 1
        assert refused
        (disk / "rest").unlink()
        keys.charge(caller)
        assert calls(keys) == counted + 2
        store.close()


def test_a_limit_on_files_answers_503_and_goes_on(place: Path) -> None:
    """As a full disk, where no file system can be mounted."""
    keys = Keys(Store(str(place)))
    caller = keys.authorise(keys.add("a"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(Unavailable):
            keys.charge(caller)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    keys.charge(caller)
    assert calls(keys) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as e:
        Store(str(tmp_path / "file" / "serve.db"))
    assert str(tmp_path / "file" / "serve.db") in str(e.value)


def test_postgresql_that_is_restarted() -> None:
    server = Postgres()
    try:
        keys = Keys(Store(server.url))
        caller = keys.authorise(keys.add("a"))
        keys.charge(caller)
        server.stop()
        start_s = time.monotonic()
        for _ in range(3):
            with pytest.raises(Unavailable) as e:
                keys.charge(caller)
            assert e.value.status == 503
        assert time.monotonic() - start_s < 20
        server.start()
        keys.charge(caller)  # with a new connection
        assert calls(keys) == 2
    finally:
        server.remove()


def test_postgresql_that_ends_in_the_middle_of_calls() -> None:
    """The calls that were admitted are those that are counted; one that was cut off may be counted, never twice."""
    server = Postgres()
    try:
        store = Store(server.url)
        keys = Keys(store, rate_per_minute=100_000)
        caller = keys.authorise(keys.add("a"))
        admitted, unsure = [0] * 4, [0] * 4
        stop = threading.Event()

        def charge(number: int) -> None:
            while not stop.is_set():
                try:
                    keys.charge(caller)
                    admitted[number] += 1
                except Unavailable:
                    unsure[number] += 1
                    time.sleep(0.05)

        threads = [threading.Thread(target=charge, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.stop()
        time.sleep(0.3)
        server.start()
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        assert sum(unsure) and sum(admitted)
        assert sum(admitted) <= calls(keys) <= sum(admitted) + sum(unsure)
        before = calls(keys)
        keys.charge(caller)
        assert calls(keys) == before + 1
    finally:
        server.remove()


KILLED = """
import sys
from asr.serve.access import Caller
from asr.serve.keys import Keys
from asr.serve.store import Store
keys = Keys(Store(sys.argv[1]), rate_per_minute=100_000)
while True:
    keys.charge(Caller(sys.argv[2], "a"))
    print(flush=True)
"""


def test_what_a_killed_process_counted_stays_counted(place: Path) -> None:
    keys = Keys(Store(str(place)))
    caller = keys.authorise(keys.add("a"))
    told = kill_after(20, [sys.executable, "-c", KILLED, str(place), caller.id])
    assert told <= calls(keys) <= told + 1


def test_processes_may_create_the_tables_at_the_same_time(place: Path) -> None:
    code = "import sys; from asr.serve.store import Store; Store(sys.argv[1])"
    command = [sys.executable, "-c", code, str(place)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]


def test_a_database_that_is_deleted_under_the_service(place: Path) -> None:
    keys = Keys(Store(str(place)))
    keys.add("a")
    keys._store.close()
    for path in place.parent.glob("serve.db*"):
        path.unlink()
    with pytest.raises(Unavailable, match="cannot reach its records"):
        keys.charge(Caller("1", "a"))
