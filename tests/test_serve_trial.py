"""A candidate beside the current recogniser: in the shadow, with a share of the requests, broken; and a new version."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tiny
from fastapi import FastAPI
from logged import heard, log_of
from prometheus_client import CollectorRegistry
from served import Shouted, app_of, client_of, noise
from sqlalchemy import select
from starlette.testclient import TestClient

import asr
from asr.cli import main as cli
from asr.config import Config
from asr.errors import InputError
from asr.flywheel.log import RequestLog
from asr.flywheel.page import write_report
from asr.flywheel.request import REQUESTS, SHADOWS, TEXTS, Shadowed
from asr.flywheel.shadows import shadowings
from asr.flywheel.versions import Versions
from asr.hypothesis import Hypothesis
from asr.recognizer import bundle
from asr.recognizer.recognizer import Recognizer
from asr.serve import following, trial
from asr.serve.access import Caller
from asr.serve.trial import LooseThreads, Trial
from asr.serve_options import ServeConfig

SOUND = tiny.noise(1.5)


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another net over the same graph."""
    folder = tmp_path_factory.mktemp("candidate")
    cfg = tiny.config()
    graph = tiny.graph_dir(folder / "graph")
    bundle.write(folder / "c.asr", tiny.model(cfg, seed=8), cfg, tiny.TOKENS, graph, "card")
    return folder / "c.asr"


@pytest.fixture
def hang() -> Iterator[Callable[..., None]]:
    """A call that does not come back before the end of the test."""
    over = threading.Event()
    yield lambda *args: over.wait()  # type: ignore[func-returns-value]
    over.set()


def text_of(path: Path) -> str:
    return asr.load(path).transcribe(SOUND, 16000).text


def rows_of(folder: Path, *columns: object) -> list:
    log = RequestLog.existing(folder)
    found = log.rows(
        select(*columns).select_from(REQUESTS.join(TEXTS).outerjoin(SHADOWS, SHADOWS.c.id == REQUESTS.c.id))
    )
    log.close()
    return found


async def ask(client: httpx.AsyncClient, **data: str) -> httpx.Response:
    return await client.post("/v1/recognize", files={"file": noise(1.5)}, data=data)


async def stream(client: httpx.AsyncClient) -> httpx.Response:
    """The events of OpenAI's call."""
    data = {"model": "x", "stream": "true"}
    return await client.post("/v1/audio/transcriptions", files={"file": noise(1.5)}, data=data)


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():
        await asyncio.sleep(0.01)


def number(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.service.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.mark.anyio
async def test_a_candidate_in_the_shadow_is_logged_beside_the_answer(model, candidate, tmp_path, monkeypatch) -> None:
    assert text_of(model) != text_of(candidate)
    monkeypatch.setattr(Recognizer, "writing", lambda self, given: Shouted() if given and given.written else None)
    app = app_of(model, candidate=str(candidate), log=str(tmp_path / "log"), log_slice=1.0)
    async with client_of(app) as client:
        plain, listed = await ask(client), await ask(client, request='{"words": ["a b", "b"]}')
        written = await ask(client, request='{"written": true}')
        await until(lambda: number(app, "asr_shadow_heard_total") == 3)
    assert plain.json()["text"] == text_of(model) and written.json()["text"] == f"{text_of(model).upper()}."
    rows = rows_of(tmp_path / "log", REQUESTS.c.model, TEXTS.c.text, SHADOWS.c.model, SHADOWS.c.text)
    assert [row[1] for row in rows] == [plain.json()["text"], listed.json()["text"], plain.json()["text"]]
    assert rows[2][3] == text_of(candidate)  # both as spoken
    assert rows[0][3] == text_of(candidate) and rows[1][3] in ("a b", "b", "")
    assert rows[0][0].startswith("m.asr@") and rows[0][2].startswith("c.asr@")

    log = RequestLog.existing(tmp_path / "log")
    log.transcribe({plain.json()["id"]: text_of(candidate)}, 1.0)
    (found,) = shadowings(log, REQUESTS.c.in_slice)
    assert (found.requests, found.transcribed) == (3, 1) and found.errors
    assert found.errors.first == 0 < found.errors.second and found.candidate == rows[0][2]
    write_report(log, Config(), tmp_path / "page.html")
    assert "Candidates in the shadow" in (tmp_path / "page.html").read_text()
    assert log.delete(REQUESTS.c.in_slice) == 3 and log.rows(select(SHADOWS)) == []
    log.close()


def test_shadows_are_compared_as_spoken(tmp_path: Path) -> None:
    log = log_of(tmp_path, heard("asr-1", "five dollars"), slice_rate=1.0)
    log.add_shadow(Shadowed("asr-1", "c.asr@1", Hypothesis("", "nine dollars", [], 0.0, 1.0, True), 0.1))
    log.transcribe({"asr-1": "$5"}, 1.0)
    (found,) = shadowings(log, REQUESTS.c.in_slice)
    log.close()
    assert found.errors and (found.errors.first, found.errors.second) == (0.5, 0.0)


def test_a_shadow_hears_a_stream_without_speech_as_silence(model: Path, candidate: Path, tmp_path: Path) -> None:
    """As the service does, whatever the nets would make of it."""
    app = app_of(candidate, candidate=str(model), log=str(tmp_path / "log"))
    with TestClient(app) as client, client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", "endpoint": None, "partials": False})
        socket.send_bytes(bytes(2 * 24000))
        for kind in ("finalize", "close"):
            socket.send_json({"type": kind})
        while socket.receive_json()["type"] != "closed":
            pass
        assert socket.receive()["type"] == "websocket.close"
        for _ in range(2000):
            if number(app, "asr_shadow_heard_total"):
                break
            time.sleep(0.01)
    assert rows_of(tmp_path / "log", TEXTS.c.text, SHADOWS.c.text) == [("", "")]
    assert asr.load(model).transcribe(np.zeros(24000, np.float32), 16000).text != ""


@pytest.mark.anyio
async def test_a_broken_candidate_in_the_shadow_disturbs_nothing(model, candidate, tmp_path, hang, monkeypatch) -> None:
    app = app_of(model, candidate=str(candidate), log=str(tmp_path / "log"))
    modes, engine = app.state.service.trial.arm.modes, app.state.service.engine
    async with client_of(app) as client:
        monkeypatch.setattr(modes, "prepared", lambda *args: 1 / 0)
        assert (await ask(client)).status_code == 200
        await until(lambda: number(app, "asr_shadow_dropped_total", reason="error") == 1)
        engine.taken += engine.threads  # all threads are busy
        assert (await ask(client)).status_code == 200
        await until(lambda: number(app, "asr_shadow_dropped_total", reason="load") == 1)
        engine.taken -= engine.threads
        monkeypatch.setattr(modes, "prepared", hang)
        monkeypatch.setattr("asr.serve.shadow.MOST_WAITING_BYTES", 2 * SOUND.nbytes)
        assert [(await ask(client)).status_code for _ in range(4)] == [200] * 4
        assert number(app, "asr_shadow_dropped_total", reason="queue") == 2
    assert len(rows_of(tmp_path / "log", REQUESTS.c.id)) == 6  # and the service has ended


@pytest.mark.anyio
async def test_a_candidate_answers_its_share(model: Path, candidate: Path, tmp_path: Path) -> None:
    app = app_of(model, candidate=str(candidate), candidate_share=1.0, log=str(tmp_path / "log"))
    async with client_of(app) as client:
        answer, refused = await ask(client), await ask(client, request='{"words": []}')
        told = await stream(client)
    assert answer.json()["text"] == text_of(candidate) and f'"text": "{text_of(candidate)}"' in told.text
    assert refused.status_code == 400 and number(app, "asr_candidate_failed_total") == 0
    assert number(app, "asr_candidate_answered_total") == 2
    rows = rows_of(tmp_path / "log", REQUESTS.c.model, SHADOWS.c.id)
    assert all(row.model.startswith("c.asr@") and row.id is None for row in rows) and len(rows) == 2


def test_a_candidate_hears_live_streams(model: Path, candidate: Path, tmp_path: Path, monkeypatch) -> None:
    app = app_of(model, candidate=str(candidate), candidate_share=1.0, log=str(tmp_path / "log"))
    with TestClient(app) as client:
        for is_broken in (False, True):
            if is_broken:
                monkeypatch.setattr(app.state.service.trial.arm.modes, "prepared", lambda *args: 1 / 0)
            with client.websocket_connect("/v1/stream") as socket:
                socket.send_json({"type": "start", "endpoint": None, "partials": False})
                socket.send_bytes((SOUND * 32767).astype("<i2").tobytes())
                socket.send_json({"type": "close"})
                while socket.receive_json()["type"] != "closed":
                    pass
            with client.websocket_connect("/v1/realtime?intent=transcription") as socket:
                assert socket.receive_json()["type"] == "session.created"
    assert number(app, "asr_candidate_answered_total") == 2 == number(app, "asr_candidate_failed_total")
    assert [row.model[:6] for row in rows_of(tmp_path / "log", REQUESTS.c.model)] == ["c.asr@", "m.asr@"]


@pytest.mark.anyio
async def test_the_current_recogniser_answers_for_a_broken_candidate(
    model, candidate, hang, monkeypatch, caplog
) -> None:
    app = app_of(model, candidate=str(candidate), candidate_share=1.0)
    tried = app.state.service.trial
    async with client_of(app) as client:
        monkeypatch.setattr(tried.arm.modes, "prepared", lambda *args: 1 / 0)
        answer = await ask(client)
        assert answer.json()["text"] == text_of(model) and number(app, "asr_candidate_failed_total") == 1
        assert "ZeroDivisionError" in caplog.text and "division by zero" not in caplog.text  # it may quote a text
        told = await client.post(
            "/v1/audio/transcriptions", files={"file": noise(1.5)}, data={"model": "x", "stream": "1"}
        )
        assert f'"text": "{text_of(model)}"' in told.text and number(app, "asr_candidate_failed_total") == 2
        monkeypatch.setattr(trial, "STUCK_S", 0.01)
        monkeypatch.setattr(tried.arm.modes, "prepared", hang)
        answers = await asyncio.gather(*(ask(client) for _ in range(3)))
        assert {answer.json()["text"] for answer in answers} == {text_of(model)} and tried.is_stuck
        assert not tried.takes(Caller("1", "app"))
    assert number(app, "asr_candidate_answered_total") == 0


@pytest.mark.anyio
async def test_a_candidate_that_hangs_within_a_stream_gets_no_more(model, candidate, hang, monkeypatch) -> None:
    tried = app_of(model, candidate=str(candidate), candidate_share=1.0).state.service.trial
    assert tried.takes(Caller("1", "app"))
    monkeypatch.setattr(trial, "STUCK_S", 0.01)
    with pytest.raises(asyncio.TimeoutError):
        await tried.arm.engine.live(hang)
    assert tried.is_stuck and not tried.takes(Caller("1", "app"))


def test_the_share_is_of_the_keys_and_stays_with_them(model: Path, candidate: Path) -> None:
    def trial_of(share: float, path: Path = candidate) -> Trial:
        cfg = Config(bundle=str(model), serve=ServeConfig(candidate=str(path), candidate_share=share, log="log"))
        return Trial(cfg, CollectorRegistry())

    callers = [Caller(str(n), "") for n in range(2000)]
    a_tenth, a_third, other = trial_of(0.1), trial_of(1 / 3), trial_of(0.1, model)
    drawn = [caller for caller in callers if a_tenth.takes(caller)]
    assert 140 < len(drawn) < 260 and drawn == [caller for caller in callers if a_tenth.takes(caller)]
    assert all(a_third.takes(caller) for caller in drawn)  # a larger share keeps them
    assert drawn != [caller for caller in callers if other.takes(caller)]  # another candidate has other keys
    by_chance = [a_tenth.takes(Caller("", "anyone")) for _ in range(2000)]
    assert 140 < sum(by_chance) < 260
    a_third.arm.engine.taken = a_third.arm.engine.most
    assert not any(a_third.takes(caller) for caller in callers)
    shadow = trial_of(0.0)
    assert shadow.is_shadow and not any(shadow.takes(caller) for caller in callers)
    with pytest.raises(InputError, match="serve.candidate_share=0 the candidate answers nothing"):
        app_of(model, candidate=str(candidate))
    with pytest.raises(InputError, match=r"there is no bundle .*nowhere.asr"):
        app_of(model, candidate="nowhere.asr", candidate_share=0.1)


def test_loose_threads() -> None:
    threads = LooseThreads(2, "test")
    futures = [threads.submit(int, text) for text in ("1", "x", "2")]
    assert futures[0].result() == 1 and futures[2].result() == 2
    assert isinstance(futures[1].exception(), ValueError)
    threads.shutdown()


@pytest.mark.anyio
async def test_a_service_follows_the_current_version(model, candidate, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(following, "FOLLOW_S", 0.01)

    def run(*words: str) -> None:
        assert cli.main(["flywheel", *words, f"versions={tmp_path}/versions"]) == 0

    def add(content: bytes, number: int) -> None:
        (tmp_path / f"versions/{number:04d}").mkdir()
        (tmp_path / f"versions/{number:04d}/model.asr").write_bytes(content)

    run("promote", str(model), f"output={tmp_path}/decision.json")
    app = app_of(tmp_path / "versions/current/model.asr", log=str(tmp_path / "log"))
    service = app.state.service
    async with client_of(app) as client:
        assert (await ask(client)).json()["text"] == text_of(model)
        first = service.modes
        add(candidate.read_bytes(), 2)
        run("rollback", "2")
        await until(lambda: service.modes is not first)
        assert (await ask(client)).json()["text"] == text_of(candidate)
        add(b"damaged", 3)
        assert cli.main(["flywheel", "rollback", "3", f"versions={tmp_path}/versions"]) == 2
        Versions(tmp_path / "versions").rollback(3)
        await until(lambda: "which cannot be served" in caplog.text)
        assert (await ask(client)).json()["text"] == text_of(candidate)
        run("rollback", "1")
        await until(lambda: service.modes.bundle.endswith("0001/model.asr"))
        assert (await ask(client)).json()["text"] == text_of(model)
    models = [row.model for row in rows_of(tmp_path / "log", REQUESTS.c.model)]
    assert len(models) == 4 and models[1] == models[2] != models[0] == models[3]
