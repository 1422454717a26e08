"""Corrections over HTTP and their export; keys on the command line; logs without keys."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny
from fastapi import FastAPI

from asr import manifest
from asr.cli import main as cli
from asr.features import audio
from asr.hypothesis import Hypothesis
from asr.recognizer import bundle
from asr.serve import errors, feedback, logs
from asr.serve.access import ANYONE, Caller
from asr.serve.errors import Refused
from asr.serve.feedback import DAY_S, Answers
from asr.serve.keys import Keys
from asr.serve.service import Answered
from asr.serve.store import Store

ANN, BOB = Caller("1", "ann"), Caller("2", "bob")
NOW = 1_770_000_000.0


def answered(id: str = "asr-1", caller: Caller = ANYONE, text: str = "a b", seconds: float = 0.5) -> Answered:
    samples, found = tiny.noise(seconds, seed=len(id)), Hypothesis("", text, [], 0.0, seconds, True)
    return Answered(id, caller, "dictation", found, samples, 16000, -20.0, 0.1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "serve.db"))


def kept(store: Store, table: Any) -> list[dict[str, Any]]:
    with store.read() as connection:
        return [dict(row._mapping) for row in connection.execute(table.select())]


def answers_of(store: Store, keep_text: bool = True, keep_audio: bool = True, keep_days: float = 30) -> Answers:
    return Answers(store, keep_text, keep_audio, keep_days)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("sound", [True, False])
def test_only_what_was_asked_for_is_kept(store: Store, text: bool, sound: bool) -> None:
    answers_of(store, text, sound).keep(answered(caller=ANN), NOW)
    (row,) = kept(store, feedback.ANSWERS)
    assert row["text"] == ("a b" if text else None)
    assert (row["id"], row["key_id"], row["mode"], row["time_s"]) == ("asr-1", "1", "dictation", NOW)
    if sound:
        assert np.abs(audio.load(row["audio"]) - answered().samples).max() < 1e-4
    else:
        assert row["audio"] is None


def test_the_last_correction_counts(store: Store) -> None:
    answers = answers_of(store)
    answers.keep(answered(), NOW)
    for text in ("a", "  a \n b\t"):
        answers.correct(ANYONE, "asr-1", text, NOW)
    assert kept(store, feedback.CORRECTIONS) == [{"answer_id": "asr-1", "text": "a b", "time_s": NOW}]


@pytest.mark.parametrize("id", ["asr-2", "", "x\0", "\ud800", "' OR 1=1 --"])
def test_an_unknown_answer_is_404(store: Store, id: str) -> None:
    answers = answers_of(store)
    answers.keep(answered(), NOW)
    with pytest.raises(Refused) as e:
        answers.correct(ANYONE, id, "a")
    assert e.value.status == 404


def test_the_answer_of_another_key_is_404(store: Store) -> None:
    answers = answers_of(store)
    answers.keep(answered(caller=ANN), NOW)
    for caller in (BOB, ANYONE):
        with pytest.raises(Refused) as e:
            answers.correct(caller, "asr-1", "a")
        assert e.value.status == 404
    answers.correct(ANN, "asr-1", "a")


@pytest.mark.parametrize("text", ["a\0b", "a\x1b[31m", "\ud800", "x" * 20_001])
def test_texts_that_cannot_be_kept(store: Store, text: str) -> None:
    answers = answers_of(store)
    answers.keep(answered(), NOW)
    with pytest.raises(Refused) as e:
        answers.correct(ANYONE, "asr-1", text)
    assert (e.value.status, e.value.param) == (400, "text")
    assert kept(store, feedback.CORRECTIONS) == []


def test_old_answers_are_deleted_unless_corrected(store: Store) -> None:
    answers = answers_of(store, keep_days=7)
    for id in ("old", "corrected"):
        answers.keep(answered(id), NOW)
    answers.correct(ANYONE, "corrected", "a")
    answers.keep(answered("new"), NOW + 8 * DAY_S)
    assert sorted(row["id"] for row in kept(store, feedback.ANSWERS)) == ["corrected", "new"]


@asynccontextmanager
async def client_of(answers: Answers | None, keys: Keys | None = None) -> AsyncIterator[httpx.AsyncClient]:
    class Service:
        pass

    app = FastAPI()
    app.state.service, app.state.answers = Service(), answers
    app.state.service.keys = keys
    errors.handle(app)
    app.include_router(feedback.router)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.anyio
async def test_over_http(store: Store) -> None:
    keys = Keys(store)
    secrets = [keys.add("ann"), keys.add("bob")]
    answers = answers_of(store)
    answers.keep(answered(caller=keys.authorise(secrets[0])), NOW)
    async with client_of(answers, keys) as client:

        async def send(secret: str | None, **body: object) -> httpx.Response:
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            return await client.post("/v1/feedback", json=body, headers=headers)

        assert (await send(None, id="asr-1", text="a")).status_code == 401
        assert (await send(secrets[1], id="asr-1", text="a")).status_code == 404
        right = await send(secrets[0], id="asr-1", text="")
        assert (right.status_code, right.content) == (204, b"")
        unknown = await send(secrets[0], id="asr-2", text="a")
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "id")
        keys.revoke("ann")
        assert (await send(secrets[0], id="asr-1", text="b")).status_code == 401
    assert [row["text"] for row in kept(store, feedback.CORRECTIONS)] == [""]


@pytest.mark.anyio
async def test_a_service_that_keeps_nothing_says_so() -> None:
    async with client_of(None) as client:
        answer = await client.post("/v1/feedback", json={"id": "asr-1", "text": "a"})
    assert answer.status_code == 404 and "keeps no answers" in answer.json()["error"]["message"]
    assert "serve.keep_text=true" in answer.json()["error"]["message"]


def test_the_export_is_a_manifest_that_the_check_accepts(store: Store, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for number, sound in enumerate([True, True, False]):
        answers = answers_of(store, keep_audio=sound)
        answers.keep(answered(f"asr-{number}", seconds=2.0 + number), NOW)
        answers.correct(ANYONE, f"asr-{number}", "b a", NOW + number)
    answers_of(store).keep(answered("not-corrected"), NOW)
    assert cli.main(["serve", "feedback", "export", "output=f/fb.jsonl", "keys=serve.db"]) == 0
    assert "2 corrections -> f/fb.jsonl; 1 without sound are left out" in capsys.readouterr().out
    utterances = manifest.read("f/fb.jsonl")
    assert [(u.id, u.text, u.extra["answered"]) for u in utterances] == [
        ("asr-0", "b a", "a b"),
        ("asr-1", "b a", "a b"),
    ]
    assert json.loads(Path("f/fb.jsonl").read_text().splitlines()[0])["audio"] == "fb/asr-0.flac"
    assert cli.main(["data", "check", "f/fb.jsonl", "output=check"]) == 0
    assert len(manifest.read("check/fb.clean.jsonl")) == 2


def test_nothing_to_export(store: Store, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ("serve feedback export output=x.jsonl keys=serve.db", "serve feedback export output=x.jsonl"):
        assert cli.main(words.split()) == 2
    err = capsys.readouterr().err
    assert "serve.db holds 0 corrections" in err and "there is no database exp/serve.db" in err
    assert not Path("x.jsonl").exists() and not Path("exp").exists()


def test_keys_on_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main("serve keys list".split()) == 2
    assert cli.main(["serve", "keys", "add", "the phone"]) == 0
    secret = capsys.readouterr().out.strip()
    keys = Keys(Store("exp/serve.db"))
    keys.charge(keys.authorise(secret), 3)
    assert cli.main(["serve", "keys", "list"]) == 0
    out = capsys.readouterr().out
    assert "the phone" in out and out.split()[-2:] == ["3", "3"] and secret not in out
    assert cli.main(["serve", "keys", "revoke", "the phone"]) == 0
    with pytest.raises(Refused):
        keys.authorise(secret)
    capsys.readouterr()
    for words, part in [
        ("serve keys revoke x", "no key in use is named 'x'"),
        ("serve keys add", "exactly one name"),
        ("serve keys", "needs one of add, list, revoke"),
        ("serve keys ad x", "did you mean 'add'"),
        ("serve keys add x keys=mysql://h/d", "an SQLite file or a postgresql:// URL"),
    ]:
        assert cli.main(words.split()) == 2
        assert part in capsys.readouterr().err


SECRET = "asr_" + "k" * 43


@pytest.mark.parametrize(
    ("logger", "message", "args", "shown"),
    [
        ("uvicorn.access", '%s - "%s %s HTTP/%s" %d', ("1.2.3.4:5", "GET", f"/v1/stream?key={SECRET}&a=b", "1.1", 200),
         '1.2.3.4:5 - "GET /v1/stream?... HTTP/1.1" 200'),
        ("uvicorn.error", '%s - "WebSocket %s" [accepted]', ("1.2.3.4:5", "/v1/stream?k%65y=" + SECRET),
         '1.2.3.4:5 - "WebSocket /v1/stream?..." [accepted]'),
        ("uvicorn.access", '%s - "%s %s HTTP/%s" %d', ("c", "GET", "http://h/v1?key=other", "1.1", 200),
         'c - "GET http://h/v1?... HTTP/1.1" 200'),
        ("uvicorn.error", "< %s: %s", ("authorization", f"Bearer {SECRET}"), "< authorization: Bearer asr_..."),
        ("uvicorn.error", f"bad request /v1/stream?key={SECRET}", (), "bad request /v1/stream?..."),
        ("uvicorn.access", "%s is ready after %d s?", ("it", 3), "it is ready after 3 s?"),
    ],
)  # fmt: skip
def test_logs_carry_no_keys(caplog, logger: str, message: str, args: tuple, shown: str) -> None:
    logs.protect()
    logs.protect()
    caplog.set_level(logging.INFO, logger)
    logging.getLogger(logger).info(message, *args)
    assert caplog.messages == [shown]
    assert len(logging.getLogger(logger).filters) == 1


def test_logs_name_the_places_of_all_exceptions_and_quote_no_message(caplog) -> None:
    """Of the cause, and of those in a group, as Starlette's tasks raise it."""

    class Group(Exception):  # ExceptionGroup is younger than Python 3.10
        def __init__(self, *exceptions: Exception):
            super().__init__(SECRET)
            self.exceptions = exceptions

    def raised(error: Exception, cause: Exception | None = None) -> Exception:
        try:
            raise error from cause
        except Exception as e:
            return e

    logs.protect()
    group = raised(Group(raised(KeyError(SECRET)), raised(ValueError(SECRET), raised(OSError(SECRET)))))
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=group)
    assert SECRET not in caplog.text and caplog.text.count("in raised") == 4
    for kind in ("builtins.KeyError", "builtins.ValueError", "builtins.OSError", "Group"):
        assert kind in caplog.text


def test_a_bundle_is_there_for_the_app(tmp_path: Path) -> None:
    """make_app opens the database only if keys or answers need it."""
    from asr.config import Config
    from asr.serve.app import make_app

    cfg = tiny.config()
    bundle.write(tmp_path / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(tmp_path / "graph"), "card")
    config = Config(bundle=str(tmp_path / "m.asr"), out=str(tmp_path / "run"))
    app = make_app(config)
    assert app.state.answers is None and app.state.service.keys is None and not (tmp_path / "run").exists()
    config.serve.require_keys, config.serve.keep_text, config.serve.daily_quota = True, True, 7
    app = make_app(config)
    assert app.state.service.keys.daily_quota == 7 and app.state.service.keepers == [app.state.answers.keep]
    assert (tmp_path / "run" / "serve.db").exists()
