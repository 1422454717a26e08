"""The service logs its requests if it is asked to, and answers them whatever happens to the log."""

from pathlib import Path

import numpy as np
import pytest
import tiny
from served import Shouted, app_of, client_of, noise
from sqlalchemy import select
from starlette.testclient import TestClient

from asr.errors import InputError
from asr.features import audio
from asr.flywheel.log import RequestLog
from asr.flywheel.request import REQUESTS, TEXTS
from asr.recognizer.recognizer import Recognizer
from asr.serve.requests import Requests


def logged(folder: Path) -> list:
    return RequestLog.existing(folder).rows(select(REQUESTS, TEXTS.c.text).join(TEXTS).order_by(REQUESTS.c.time_s))


def sound_of(folder: Path, row) -> np.ndarray:  # type: ignore[no-untyped-def]
    return audio.load(RequestLog.existing(folder).sounds.path(row.sound))


def test_options_of_a_log_need_one(model: Path) -> None:
    with pytest.raises(InputError, match=r"serve\.log_slice=0\.3 .* nothing is logged; name its folder, serve\.log="):
        app_of(model, log_slice=0.3)


@pytest.mark.anyio
async def test_requests_are_logged(model: Path, tmp_path: Path) -> None:
    app = app_of(model, log=str(tmp_path), log_slice=1.0, language="en")
    async with client_of(app) as client:
        answers = [
            await client.post("/v1/recognize", files={"file": noise(0.5)}, data={"request": request})
            for request in ("{}", '{"words": ["a b"], "reject_below": 1.0}', '{"phrases": {"a": 1.0, "zebra": 1.0}}')
        ]
        told = await client.post("/v1/audio/transcriptions", files={"file": noise(0.7)}, data={"model": "x"})
        metrics = (await client.get("/metrics")).text
    assert 'asr_log_dropped_total{reason="queue"} 0.0' in metrics and "asr_log_waiting" in metrics
    rows = logged(tmp_path)
    assert [row.id for row in rows] == [*(answer.json()["id"] for answer in answers), told.headers["x-request-id"]]
    assert [row.text for row in rows[:3]] == [answer.json()["text"] for answer in answers]
    assert [row.mode for row in rows] == ["dictation", "word", "dictation", "dictation"]
    assert [(row.oov, row.rejected) for row in rows[1:3]] == [(0, True), (1, False)]
    assert {(row.language, row.key_name, row.in_slice, row.slice_rate) for row in rows} == {("en", "anyone", True, 1.0)}
    assert all(row.model.startswith("m.asr@") and len(row.model) == 18 and row.latency_s > 0 for row in rows)
    assert [round(row.duration_s, 3) for row in rows] == [0.5, 0.5, 0.5, 0.7]
    assert np.abs(sound_of(tmp_path, rows[0]) - tiny.noise(0.5)).max() < 1e-3


@pytest.mark.anyio
async def test_written_answers_are_logged_as_spoken(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Recognizer, "writing", lambda self, options: Shouted())
    async with client_of(app_of(model, log=str(tmp_path))) as client:
        answer = await client.post("/v1/recognize", files={"file": noise(0.5)})
        written = await client.post("/v1/audio/transcriptions", files={"file": noise(0.5)}, data={"model": "x"})
    text = answer.json()["text"]
    assert written.json()["text"] == text and text == f"{text[:-1].upper()}." and len(text) > 1
    assert [row.text for row in logged(tmp_path)] == [text[:-1].lower()] * 2


@pytest.mark.parametrize("is_written", [False, True])
def test_live_utterances_are_logged_as_spoken(model: Path, tmp_path: Path, monkeypatch, is_written: bool) -> None:
    monkeypatch.setattr(Recognizer, "writing", lambda self, options: Shouted() if is_written else None)
    with TestClient(app_of(model, log=str(tmp_path))) as client, client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", "phrases": {"a": 1.0, "zebra": 1.0}})
        sound = (tiny.noise(1.0) * 32767).astype("<i2")
        socket.send_bytes(sound.tobytes())
        socket.send_json({"type": "close"})
        events = []
        while not events or events[-1]["type"] != "closed":
            events.append(socket.receive_json())
        assert socket.receive()["type"] == "websocket.close"
    finals = [event for event in events if event["type"] == "final"]
    rows = logged(tmp_path)
    told = {event["id"]: event["text"] for event in finals}
    assert told and all(text.isupper() and text[-1] == "." for text in told.values()) == is_written
    assert {row.id: row.text for row in rows} == {id: text.strip(".").lower() for id, text in told.items()}
    assert rows[0].oov == 1 and rows[0].latency_s > 0 and len(sound_of(tmp_path, rows[0]))


@pytest.mark.anyio
async def test_nothing_is_logged_by_default_and_sounds_only_if_wanted(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options in ({}, {"log": "log", "log_sound": False}):
        async with client_of(app_of(model, **options)) as client:
            assert (await client.post("/v1/recognize", files={"file": noise(0.5)})).status_code == 200
            assert ("asr_log" in (await client.get("/metrics")).text) == bool(options)
        assert list(tmp_path.iterdir()) == ([tmp_path / "log"] if options else [])
    assert [row.sound for row in logged(tmp_path / "log")] == [None]


@pytest.mark.anyio
async def test_a_fault_of_the_log_fails_no_request(model: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(Requests, "_heard", lambda self, answered: 1 / 0)
    async with client_of(app_of(model, log=str(tmp_path))) as client:
        assert (await client.post("/v1/recognize", files={"file": noise(0.5)})).status_code == 200
    assert "could not be logged" in caplog.text and "ZeroDivisionError" in caplog.text
