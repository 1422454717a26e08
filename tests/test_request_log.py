"""The log of requests: nothing that it acknowledged is lost, and what is deleted is gone."""

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from killed import kill_after
from logged import NOW, RATE_HZ, bytes_of, heard, log_of
from postgres import Postgres
from sqlalchemy import delete, func, select, true
from test_full_disk import largest_file

from asr.database import Database, DatabaseFailed
from asr.errors import InputError
from asr.features import audio
from asr.flywheel import writer
from asr.flywheel.levels import snr_db
from asr.flywheel.log import DAY_S, RequestLog
from asr.flywheel.request import REQUESTS, TABLES, TEXTS, TRANSCRIPTS, is_in_slice
from asr.flywheel.watch import transcribed, watch
from asr.flywheel.writer import Writer


def ids(log: RequestLog) -> list[str]:
    return [row.id for row in log.rows(select(REQUESTS.c.id).order_by(REQUESTS.c.time_s, REQUESTS.c.id))]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "sound").rglob("*") if path.is_file())


def test_a_request_is_logged_whole_and_once(tmp_path: Path) -> None:
    request = heard("asr-1", ignored=("zebra",))
    log = log_of(tmp_path / "log", request, request)
    (row,) = log.rows(select(REQUESTS, TEXTS.c.text, TEXTS.c.words).join(TEXTS))
    assert (row.day, row.mode, row.text, row.num_words, row.oov) == ("2026-02-02", "dictation", "a b", 2, 1)
    assert row.confidence == pytest.approx(0.9) and row.doubt == pytest.approx(0.2) and not row.rejected
    assert '"word": "b"' in row.words and row.snr_db is not None
    assert request.samples is not None
    assert np.abs(audio.load(log.sounds.path(row.sound)) - request.samples).max() < 1e-4
    assert row.sound_bytes == files(log.folder)[0].stat().st_size
    private = [log.folder, log.folder / "sound", log.folder / "requests.db", *files(log.folder)]
    assert [path.stat().st_mode & 0o077 for path in private] == [0, 0, 0, 0]


def test_a_request_without_sound_and_words(tmp_path: Path) -> None:
    log = log_of(tmp_path, heard("asr-1", text="", samples=None))
    (row,) = log.rows(select(REQUESTS))
    assert (row.sound, row.sound_bytes, row.snr_db, row.confidence, row.rejected) == (None, 0, None, None, True)
    assert files(tmp_path) == []


def test_the_slice_is_a_uniform_share_of_the_ids() -> None:
    drawn = [id for id in (f"asr-{n}" for n in range(20_000)) if is_in_slice(id, 0.1)]
    assert abs(len(drawn) - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5
    assert all(is_in_slice(id, 0.2) for id in drawn)
    assert is_in_slice("x", 1.0) and not is_in_slice("x", 0.0)


@pytest.mark.parametrize("snr", [5.0, 15.0, 30.0])
def test_snr_of_speech_with_pauses(snr: float) -> None:
    rng = np.random.default_rng(1)
    speech = np.sin(2 * np.pi * 300 * np.arange(2 * RATE_HZ) / RATE_HZ) * 0.5
    speech[RATE_HZ // 2 : RATE_HZ] = 0
    noise = rng.standard_normal(len(speech)) * 0.5 / np.sqrt(2) / 10 ** (snr / 20)
    found = snr_db((speech + noise).astype(np.float32), RATE_HZ)
    assert found == pytest.approx(10 * np.log10(10 ** (snr / 10) + 1), abs=1.5)  # of speech with noise above the noise
    assert snr_db(np.zeros(10, np.float32), RATE_HZ) is None and snr_db(np.zeros(800, np.float32), RATE_HZ) == 0


@pytest.mark.parametrize("which", ["id", "key", "age"])
def test_what_is_deleted_leaves_no_bytes(tmp_path: Path, which: str) -> None:
    one = heard("asr-1", text="secretword elephant")
    two = heard("asr-2", text="harmless", day=50, key_name="other")
    log = log_of(tmp_path, one, two)
    log.transcribe({"asr-1": "secretword giraffe", "asr-2": "harmless"}, NOW)
    sound = files(tmp_path)[0].read_bytes()
    assert sound in (kept := bytes_of(tmp_path)) and b"elephant" in kept and b"giraffe" in kept
    if which == "age":
        log.retain(NOW + 51 * DAY_S, days=10, most_bytes=1e9)
    else:
        assert log.delete(REQUESTS.c.id == "asr-1" if which == "id" else REQUESTS.c.key_name == "phone app") == 1
        assert log.database.scrub()
    left = bytes_of(tmp_path)
    assert not [text for text in (b"secretword", b"elephant", b"giraffe", b"asr-1", sound) if text in left]
    assert b"harmless" in left and ids(log) == ["asr-2"]
    assert len(files(tmp_path)) == 1 == log.rows(select(func.count()).select_from(TRANSCRIPTS))[0][0]


def test_the_oldest_sounds_go_first_and_the_slice_and_transcripts_last(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(heard(f"asr-{n}", day=n) for n in range(1, 5)))
    log.slice_rate = 1.0
    log.add(heard("asr-0"))
    log.transcribe({"asr-1": "a"}, NOW)
    size = max(path.stat().st_size for path in files(tmp_path))

    def kept() -> list[str]:
        return sorted(path.stem for path in files(tmp_path))

    log.retain(NOW, 1000, 4 * size)
    assert kept() == ["asr-0", "asr-1", "asr-3", "asr-4"]
    log.retain(NOW, 1000, 1.1 * size)
    assert kept() == ["asr-1"]
    log.retain(NOW, 1000, 0.5 * size)
    assert kept() == [] and ids(log) == [f"asr-{n}" for n in range(5)]  # the numbers stay


def test_the_sounds_of_another_database_are_not_taken_for_orphans(tmp_path: Path) -> None:
    log_of(tmp_path / "log", heard("asr-1")).close()
    with pytest.raises(InputError, match="the sounds of another database"):
        RequestLog(tmp_path / "log", f"{tmp_path}/other.db")
    with pytest.raises(InputError, match="the sounds of another database"):
        RequestLog.existing(tmp_path / "log", f"{tmp_path}/other.db")
    (tmp_path / "log").rename(tmp_path / "moved")
    (tmp_path / "moved/requests.db").rename(tmp_path / "moved.db")
    assert ids(RequestLog.existing(tmp_path / "moved", f"{tmp_path}/moved.db")) == ["asr-1"]
    with pytest.raises(InputError, match="name its database by log_database="):
        RequestLog.existing(tmp_path / "moved")


def test_a_database_that_is_missing_is_not_created_to_read_it(tmp_path: Path) -> None:
    log_of(tmp_path, heard("asr-1"))
    with pytest.raises(InputError, match="there is no database"):
        RequestLog.existing(tmp_path, f"{tmp_path}/mistyped.db")
    assert not (tmp_path / "mistyped.db").exists()


@pytest.mark.parametrize("options", [{"folder": "/proc/x"}, {"database": "/proc/x/requests.db"}])
def test_a_place_where_no_folder_can_be_made(tmp_path: Path, options: dict[str, str]) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc")
    with pytest.raises(InputError, match="/proc/x: no folder can be made there"):
        RequestLog(**{"folder": str(tmp_path), **options})


def test_the_tables_have_a_version(tmp_path: Path) -> None:
    log = log_of(tmp_path, heard("asr-1"))
    log.transcribe({"asr-1": "one"}, NOW)
    with log.database.write() as connection:  # as before there were versions
        for table in ("asr_log_schema", "asr_log_unusable"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    log.close()
    log = RequestLog.existing(tmp_path)
    assert ids(log) == ["asr-1"] and [row.transcript for row in transcribed(log, true())] == ["one"]
    with log.database.write() as connection:
        connection.exec_driver_sql("UPDATE asr_log_schema SET version = version + 1")
    log.close()
    with pytest.raises(InputError, match=r"a later version of the toolkit \(tables of version 2, not 1\); upgrade"):
        RequestLog.existing(tmp_path)


def test_a_request_without_a_row_leaves_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(tmp_path)

    def fails(*_: object) -> None:
        raise log.database.failure("the database is gone")

    monkeypatch.setattr(log.database, "write", fails)
    with pytest.raises(DatabaseFailed, match="gone"):
        log.add(heard("asr-1"))
    assert files(tmp_path) == []


def test_sounds_without_a_row_are_swept(tmp_path: Path) -> None:
    log = log_of(tmp_path, heard("asr-1"))
    log.sounds.add("2026-02-02", "asr-2", np.zeros(80, np.float32), RATE_HZ)
    (tmp_path / "sound" / "2026-02-02" / "asr-3.flac.part").write_bytes(b"x")
    assert log.sweep() == 0  # another process may be about to write their rows
    assert log.sweep(young_s=-1) == 2
    assert [path.name for path in files(tmp_path)] == ["asr-1.flac"]


KILLED = """
import sys
sys.path[:0] = ["tests"]
from killed import kill_after
from logged import heard
from asr.flywheel.log import RequestLog
log = RequestLog(sys.argv[1])
for number in range(100_000):
    log.add(heard(f"asr-{number}", text=f"word{number}"))
    print(flush=True)
"""


def test_what_a_killed_process_acknowledged_is_kept(tmp_path: Path) -> None:
    told = kill_after(30, [sys.executable, "-c", KILLED, str(tmp_path)])
    log = RequestLog.existing(tmp_path)
    log.sweep(young_s=-1)
    rows = log.rows(select(REQUESTS.c.id, REQUESTS.c.sound, TEXTS.c.text).join(TEXTS))
    assert {f"asr-{number}" for number in range(told)} <= {row.id for row in rows}
    assert told <= len(rows) <= told + 1
    for row in rows:
        assert row.text == f"word{row.id[4:]}" and len(audio.load(log.sounds.path(row.sound))) == 0.2 * RATE_HZ
    assert sorted(path.stem for path in files(tmp_path)) == sorted(row.id for row in rows)


def test_a_full_disk_drops_and_counts_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(writer, "KEEP_S", 0.0)
    log = log_of(tmp_path)
    thread = Writer(log, 90, 1e9)
    with largest_file(100):
        thread.put(heard("asr-1"))
        wait_for(lambda: thread.dropped["disk"] == 1)
    thread.put(heard("asr-2"))
    wait_for(lambda: thread.logged == 1)
    thread.close()
    log = RequestLog.existing(tmp_path)
    assert ids(log) == ["asr-2"] and [path.stem for path in files(tmp_path)] == ["asr-2"]
    assert "a request is not logged, 1 so far" in caplog.text and "a b" not in caplog.text


def test_a_request_outlasts_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    thread = Writer(log_of(tmp_path), 90, 1e9)
    with largest_file(100):
        thread.put(heard("asr-1"))
        time.sleep(0.1)
    wait_for(lambda: thread.logged == 1)
    thread.close()
    assert ids(RequestLog.existing(tmp_path)) == ["asr-1"] and not thread.dropped.total()


class Held(RequestLog):
    """Logs nothing before `go` is set."""

    go = threading.Event()

    def add(self, request) -> None:  # type: ignore[no-untyped-def]
        self.go.wait(60)
        if request.id == "bad":
            raise ZeroDivisionError
        super().add(request)


def test_a_full_queue_drops_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Held(tmp_path)
    log.go.clear()
    thread = Writer(log, 90, 1e9, most_waiting_bytes=10_000)
    for id in ("large", "asr-1", "asr-2"):
        thread.put(heard(id, seconds=1.0))  # the first has room alone
    assert (thread.waiting, thread.dropped["queue"]) == (1, 2)
    log.go.set()
    wait_for(lambda: not thread.waiting)
    thread.put(heard("bad"))
    wait_for(lambda: not thread.waiting)
    thread.put(heard("asr-3"))
    thread.close()
    assert ids(RequestLog.existing(tmp_path)) == ["asr-3", "large"]
    assert thread.dropped["error"] == 1 and "ZeroDivisionError" in caplog.text
    thread.put(heard("asr-4"))
    assert thread.dropped["stopped"] == 1


def test_the_end_of_the_service_waits_for_the_log_but_not_for_ever(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    log = Held(tmp_path)
    log.go.clear()
    thread = Writer(log, 90, 1e9)
    for number in range(3):
        thread.put(heard(f"asr-{number}"))
    thread.close(wait_s=0.05)
    assert thread.dropped["stopped"] == 3
    log.go.set()


def test_a_log_in_postgresql(tmp_path: Path) -> None:
    server = Postgres()
    try:
        log = RequestLog(tmp_path, server.url, slice_rate=1.0)
        log.add(heard("asr-1", text="하나 둘"))
        log.add(heard("asr-2"))
        assert log.transcribe({"asr-1": "하나", "asr-9": "x"}, NOW) == ["asr-9"]
        again = RequestLog.existing(tmp_path, server.url)
        charts = {chart.title: chart.values for chart in watch(again, true(), 2, 0.2).charts}
        assert charts["confidence"] == [pytest.approx(0.9)] and charts["rejected"] == [0.0]
        assert [row.transcript for row in transcribed(again, true())] == ["하나"]
        impatient = Database(server.url, TABLES, "serve.log_database", busy_s=0.1)
        with again.database.write() as connection:
            connection.exec_driver_sql("LOCK TABLE asr_log IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(DatabaseFailed, match="lock timeout"):
                impatient.scrub()
        with suppress(ZeroDivisionError), impatient.write() as connection:  # still a transaction, which is undone
            connection.execute(delete(TRANSCRIPTS))
            raise ZeroDivisionError
        assert len(again.rows(select(TRANSCRIPTS))) == 1
        assert again.delete(REQUESTS.c.key_name == "phone app") == 2 and again.database.scrub()
        assert ids(again) == [] == files(tmp_path)
    finally:
        server.remove()


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="log=exp/log|holds no log of requests"):
            RequestLog.existing(folder)
    assert not (tmp_path / "none").exists() and not list(tmp_path.iterdir())


def wait_for(is_so, most_s: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    until_s = time.monotonic() + most_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.01)
