"""API keys on SQLite and on a real PostgreSQL: secrets, rates, quotas, many threads and processes at a time."""

import calendar
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postgres import Postgres
from sqlalchemy import text

from asr.errors import InputError
from asr.serve.access import Caller
from asr.serve.errors import Refused
from asr.serve.keys import Keys
from asr.serve.store import Store

ROOT = Path(__file__).parent.parent
NOON = float(calendar.timegm((2026, 3, 1, 12, 0, 0)))
MIDNIGHT = float(calendar.timegm((2026, 3, 2, 0, 0, 0)))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "serve.db")
    server = request.getfixturevalue("postgres")
    store = Store(server.url)
    with store.write() as connection:
        connection.execute(text("TRUNCATE asr_keys, asr_usage, asr_answers, asr_corrections"))
    store.close()
    return server.url


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    opened = Store(place)
    yield opened
    opened.close()


def refusal(keys: Keys, caller: Caller, now: float, calls: int = 1) -> Refused:
    with pytest.raises(Refused) as e:
        keys.charge(caller, calls, now)
    return e.value


def admitted(keys: Keys, caller: Caller, now: float) -> int:
    """How many calls are admitted at one moment."""
    count = 0
    while True:
        try:
            keys.charge(caller, 1, now)
        except Refused:
            return count
        count += 1


def test_a_key_names_its_caller_and_is_not_stored(place: str, store: Store, tmp_path: Path) -> None:
    keys = Keys(store)
    secret = keys.add("phone app")
    assert keys.authorise(secret).name == "phone app"
    assert len(secret) == 47 and secret.startswith("asr_")
    with store.read() as connection:
        row = connection.execute(text("SELECT * FROM asr_keys")).one()
    assert secret not in str(row)
    if place.endswith(".db"):
        store.close()
        assert not any(secret.encode() in path.read_bytes() for path in tmp_path.glob("serve.db*"))
        assert (tmp_path / "serve.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "key", [None, "", "x", "asr_" + "A" * 43, "asr_é" + "A" * 42, "' OR 1=1 --", "asr_\0", "A" * 9999]
)
def test_other_keys_are_refused(store: Store, key: str | None) -> None:
    keys = Keys(store)
    keys.add("a")
    with pytest.raises(Refused) as e:
        keys.authorise(key)
    assert e.value.status == 401


def test_a_revoked_key_is_refused_at_once_and_its_name_is_free(place: str, store: Store) -> None:
    keys, elsewhere = Keys(store), Keys(Store(place))
    old, caller = keys.add("a"), None
    caller = keys.authorise(old)
    elsewhere.revoke("a")
    for call in (lambda: keys.authorise(old), lambda: keys.charge(caller)):
        with pytest.raises(Refused, match="'a' was revoked") as e:
            call()
        assert e.value.status == 401
    with pytest.raises(InputError, match="no key in use is named 'a'"):
        keys.revoke("a")
    assert keys.authorise(keys.add("a")).id != caller.id
    assert [(key.name, key.revoked_s is None) for key in keys.list()] == [("a", False), ("a", True)]


def test_names(store: Store) -> None:
    keys = Keys(store)
    keys.add("전화")
    with pytest.raises(InputError, match="there is a key '전화' in use"):
        keys.add("전화")
    for name in ("", " a", "a\n", "x" * 65, "a\x00"):
        with pytest.raises(InputError, match="printable characters"):
            keys.add(name)


def test_the_quota_of_a_day_of_utc(store: Store) -> None:
    keys = Keys(store, daily_quota=3, rate_per_minute=1000)
    caller, other = (keys.authorise(keys.add(name)) for name in "ab")
    assert admitted(keys, caller, NOON) == 3
    refused = refusal(keys, caller, NOON)
    assert (refused.status, refused.retry_after_s) == (429, 12 * 3600)
    assert refused.headers()["Retry-After"] == "43200"
    assert "3 of this key's 3 calls per day" in refused.message
    assert refusal(keys, caller, MIDNIGHT - 0.5).retry_after_s == 0.5
    keys.charge(other, 1, NOON)
    refusal(keys, other, NOON, calls=3)  # all or none
    keys.charge(other, 2, NOON)
    assert admitted(keys, caller, MIDNIGHT) == 3
    assert [(key.calls_today, key.calls) for key in keys.list(NOON)] == [(3, 6), (3, 3)]


def test_the_rate_of_a_minute(store: Store) -> None:
    keys = Keys(store, daily_quota=1000, rate_per_minute=6)
    caller = keys.authorise(keys.add("a", NOON))
    assert admitted(keys, caller, NOON) == 6
    refused = refusal(keys, caller, NOON + 1)
    assert refused.status == 429 and refused.retry_after_s == pytest.approx(9, abs=1e-3)
    assert admitted(keys, caller, NOON + 10) == 1
    assert admitted(keys, caller, NOON + 10_000) == 6
    assert keys.list(NOON)[0].calls == 13  # refused calls are not counted


def test_a_clock_that_is_set_back_gives_nothing_away_and_locks_nobody_out(store: Store) -> None:
    keys = Keys(store, daily_quota=20, rate_per_minute=6)
    caller = keys.authorise(keys.add("a", NOON))
    assert admitted(keys, caller, NOON) == 6
    assert admitted(keys, caller, NOON - 3600) == 0  # the minute is used up
    assert admitted(keys, caller, NOON - 3600 + 10) == 1
    assert admitted(keys, caller, NOON + 60) == 6
    assert admitted(keys, caller, NOON + 9999) == 6
    assert admitted(keys, caller, NOON + 99) == 0
    assert admitted(keys, caller, NOON + 20_000) == 1  # the last of the day
    assert admitted(keys, caller, MIDNIGHT) == 6
    assert admitted(keys, caller, MIDNIGHT - 3600) == 0  # yesterday's quota is still used up
    assert keys.list(MIDNIGHT - 3600)[0].calls_today == 20


def test_many_threads_share_a_quota(store: Store) -> None:
    keys = Keys(store, daily_quota=50, rate_per_minute=10_000)
    caller = keys.authorise(keys.add("a"))

    def charge(_: int) -> bool:
        try:
            keys.charge(caller, 1, NOON)
            return True
        except Refused as e:
            assert e.status == 429
            return False

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(charge, range(100))) == 50
    assert keys.list(NOON)[0].calls == 50


def test_a_call_that_is_not_answered_is_taken_back_from_its_day(store: Store) -> None:
    keys = Keys(store, daily_quota=2, rate_per_minute=4)
    caller = keys.authorise(keys.add("a"))
    assert admitted(keys, caller, MIDNIGHT - 0.5) == 2
    keys.charge(caller, 1, MIDNIGHT)
    keys.refund(caller, 1, MIDNIGHT - 0.5)
    assert [keys.list(at)[0].calls_today for at in (NOON, MIDNIGHT)] == [1, 1]
    assert admitted(keys, caller, MIDNIGHT) == 1  # the quota's last
    assert refusal(keys, caller, MIDNIGHT - 0.5).code == "rate_limit_exceeded"  # which counts all four
    for _ in range(3):
        keys.refund(caller, 1, NOON)
    assert keys.list(NOON)[0].calls_today == 0  # never below


def test_threads_that_charge_and_take_back_lose_no_count(store: Store) -> None:
    keys = Keys(store, daily_quota=10_000, rate_per_minute=10_000)
    caller = keys.authorise(keys.add("a"))

    def charge(number: int) -> None:
        keys.charge(caller, 1, NOON)
        if number % 2:
            keys.refund(caller, 1, NOON)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(charge, range(100)))
    assert keys.list(NOON)[0].calls == 50


CHARGE = """
import sys
from asr.serve.access import Caller
from asr.serve.errors import Refused
from asr.serve.keys import Keys
from asr.serve.store import Store
place, id, now = sys.argv[1:]
keys = Keys(Store(place), daily_quota=int(1e9), rate_per_minute=90)
print("ready", flush=True)
sys.stdin.readline()
count = 0
for _ in range(60):
    try:
        keys.charge(Caller(id, "a"), 1, float(now))
        count += 1
    except Refused as e:
        assert e.status == 429, e
print(count)
"""


def test_many_processes_share_a_rate(place: str, store: Store) -> None:
    keys = Keys(store)
    caller = keys.authorise(keys.add("a", NOON))
    command = [sys.executable, "-c", CHARGE, place, caller.id, str(NOON)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(counts) == 90 == keys.list(NOON)[0].calls


@pytest.mark.parametrize("name", ["mysql://u:secret@h/d", "sqlite://", "nonsense://x", "postgresql+asyncpg://h:x/d"])
def test_other_databases_are_refused(name: str) -> None:
    with pytest.raises(InputError) as e:
        Store(name)
    assert "secret" not in str(e.value) and "expected an SQLite file or a postgresql:// URL" in str(e.value)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes, not a database\n" * 100)
    with pytest.raises(InputError, match="notes.txt failed: file is not a database"):
        Store(str(path))
    assert path.read_text() == "notes, not a database\n" * 100


def test_a_server_that_does_not_run_is_named_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(InputError) as e:
        Store("postgresql://u:secret@127.0.0.1:1/d")
    assert "127.0.0.1" in str(e.value) and "secret" not in str(e.value)


def test_sqlite_waits_for_other_writers(tmp_path: Path) -> None:
    """Readers are not kept waiting by a writer, as WAL is on."""
    store = Store(str(tmp_path / "serve.db"))
    keys = Keys(store)
    secret = keys.add("a")
    writer = sqlite3.connect(tmp_path / "serve.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert keys.authorise(secret).name == "a"
    writer.execute("ROLLBACK")
