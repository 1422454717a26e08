"""Answers are kept behind the scenes: no caller waits for the database, and nothing that was accepted is lost."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import app_of, client_of, noise
from test_serve_feedback import NOW, answered, kept

from asr.serve import feedback
from asr.serve.access import ANYONE, Caller
from asr.serve.errors import Refused
from asr.serve.feedback import Answers, Keeper
from asr.serve.keys import Keys
from asr.serve.service import Answered
from asr.serve.store import Store, Unavailable


class Held(Answers):
    """Keeps nothing before `go` is set."""

    def __init__(self, store: Store, keep_audio: bool = True):
        super().__init__(store, True, keep_audio, 30)
        self.go = threading.Event()

    def keep(self, answered: Answered, now: float | None = None) -> None:
        self.go.wait(60)
        super().keep(answered, now)


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Held]:
    made = Held(Store(str(tmp_path / "serve.db")))
    yield made
    made.go.set()


def ids(answers: Answers) -> list[str]:
    return [row["id"] for row in kept(answers._store, feedback.ANSWERS)]


def test_keeping_takes_no_time_of_the_caller(answers: Held) -> None:
    keeper, before = Keeper(answers), time.time()
    for number in range(3):
        keeper.keep(answered(f"asr-{number}"))
    after = time.time()
    assert ids(answers) == []
    answers.go.set()
    keeper.close()
    assert ids(answers) == ["asr-0", "asr-1", "asr-2"]
    assert all(before <= row["time_s"] <= after for row in kept(answers._store, feedback.ANSWERS))


def test_a_correction_waits_for_its_answer(answers: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(answers)
    keeper.keep(answered())
    with pytest.raises(Refused, match="no answer with this id"):  # it does not wait for others
        keeper.correct(ANYONE, "asr-2", "a")
    monkeypatch.setattr(feedback, "WAIT_S", 0.05)
    with pytest.raises(Refused, match="not kept yet") as e:
        keeper.correct(ANYONE, "asr-1", "a")
    assert (e.value.status, e.value.headers()["Retry-After"]) == (503, "1")
    monkeypatch.setattr(feedback, "WAIT_S", 60.0)
    threading.Timer(0.1, answers.go.set).start()
    keeper.correct(ANYONE, "asr-1", "a")
    assert [row["text"] for row in kept(answers._store, feedback.CORRECTIONS)] == ["a"]
    keeper.close()


def test_answers_that_wait_take_bounded_memory(answers: Held, caplog) -> None:
    keeper = Keeper(answers, most_bytes=100_000)
    keeper.keep(answered("large", seconds=3.0))  # has room alone
    keeper.keep(answered("late"))
    assert "the answer late is not kept: 1 others wait" in caplog.text and "a b" not in caplog.text
    answers.go.set()
    keeper.close()
    assert ids(answers) == ["large"] and keeper._bytes == 0 and not keeper._waiting


def test_sound_that_is_not_kept_does_not_wait(tmp_path: Path) -> None:
    answers = Held(Store(str(tmp_path / "serve.db")), keep_audio=False)
    keeper = Keeper(answers, most_bytes=10_000)
    for number in range(5):
        keeper.keep(answered(f"asr-{number}", seconds=3.0))
    answers.go.set()
    keeper.close()
    assert len(ids(answers)) == 5


def test_a_fault_is_logged_and_the_next_answer_kept(answers: Held, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    keeper = Keeper(answers)
    with monkeypatch.context() as patch:
        patch.setattr(feedback, "flac", lambda samples, rate_hz: 1 / 0)
        answers.go.set()
        keeper.keep(answered("asr-1"))
        with pytest.raises(Refused, match="no answer with this id"):
            keeper.correct(ANYONE, "asr-1", "a")
    assert "the answer asr-1 is not kept" in caplog.text and "ZeroDivisionError" in caplog.text
    keeper.keep(answered("asr-2"))
    keeper.close()
    assert ids(answers) == ["asr-2"]


def test_an_answer_that_cannot_be_kept_is_named_in_the_log(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(feedback, "WAIT_S", 60.0)
    monkeypatch.setattr(feedback, "KEEP_S", 0.2)
    monkeypatch.setattr(feedback, "RETRY_S", 0.05)
    store = Store(str(tmp_path / "serve.db"), busy_s=0.05)
    keeper = Keeper(Answers(store, True, True, 30))
    with store.write():
        keeper.keep(answered())
        with pytest.raises(Unavailable):
            keeper.correct(ANYONE, "asr-1", "a")  # the answer has been given up
    assert "the answer asr-1 is not kept" in caplog.text and "a b" not in caplog.text
    keeper.close()
    assert kept(store, feedback.ANSWERS) == []


def test_an_answer_is_kept_once(answers: Held) -> None:
    """Whether a transaction that failed was committed may be unknown."""
    answers.go.set()
    for text in ("a", "b"):
        answers.keep(answered(text=text), NOW)
    assert [row["text"] for row in kept(answers._store, feedback.ANSWERS)] == ["a"]


def test_the_end_of_the_service_does_not_wait_for_ever(answers: Held, monkeypatch, caplog) -> None:
    keeper = Keeper(answers)
    for number in range(3):
        keeper.keep(answered(f"asr-{number}"))
    monkeypatch.setattr(feedback, "WAIT_S", 0.05)
    threading.Timer(0.5, answers.go.set).start()
    keeper.close()
    assert ids(answers) == ["asr-0"] and "2 answers are not kept" in caplog.text


def test_an_answer_outlasts_a_database_that_fails_for_a_while(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(feedback, "KEEP_S", 60.0)
    monkeypatch.setattr(feedback, "RETRY_S", 0.05)
    monkeypatch.setattr(feedback, "WAIT_S", 60.0)
    keeper = Keeper(Answers(Store(str(tmp_path / "serve.db"), busy_s=0.05), True, True, 30))
    other = sqlite3.connect(tmp_path / "serve.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    keeper.keep(answered())
    threading.Timer(0.5, other.execute, ("COMMIT",)).start()
    keeper.correct(ANYONE, "asr-1", "a")
    keeper.close()


@pytest.mark.anyio
async def test_an_answer_does_not_wait_for_a_locked_database(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(feedback, "WAIT_S", 60.0)
    app = app_of(model, keep_text=True, keys=str(tmp_path / "serve.db"))
    app.state.answers._answers._store.busy_s = 60.0
    async with client_of(app) as client:
        other = sqlite3.connect(tmp_path / "serve.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        answer = await client.post("/v1/recognize", files={"file": noise(0.5)})
        assert answer.status_code == 200 and app.state.answers._waiting  # the lock still holds
        other.execute("ROLLBACK")
        correction = {"id": answer.json()["id"], "text": "a"}
        assert (await client.post("/v1/feedback", json=correction)).status_code == 204


def test_a_call_is_not_counted_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota is asked before the work; a call that cannot be counted is refused, sooner than others give up."""
    monkeypatch.setattr("asr.serve.keys.CHARGE_S", 0.2)
    store = Store(str(tmp_path / "serve.db"), busy_s=60.0)
    keys = Keys(store)
    caller = keys.authorise(keys.add("a"))
    other = sqlite3.connect(tmp_path / "serve.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for call in (keys.charge, keys.refund):
        with pytest.raises(Unavailable, match="cannot reach its records"):
            call(caller)
    other.execute("ROLLBACK")
    with store.write(), pytest.raises(Unavailable):  # another request of this process writes
        charged_elsewhere(keys, caller)
    keys.charge(caller)
    assert keys.list()[0].calls == 1
    with store.write() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


def charged_elsewhere(keys: Keys, caller: Caller) -> None:
    """Charges in another thread, and raises here what it raises there."""
    found: list[Exception] = []

    def charge() -> None:
        try:
            keys.charge(caller, 1, NOW)
        except Exception as e:
            found.append(e)

    thread = threading.Thread(target=charge)
    thread.start()
    thread.join()
    if found:
        raise found[0]
