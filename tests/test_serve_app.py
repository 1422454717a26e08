"""The app of the service: health, metrics, documents, errors, limits of the body, the queue."""

import dataclasses
import re
import threading
from pathlib import Path

import httpx
import pytest
from served import app_of, client_of, noise

import asr
from asr.errors import InputError
from asr.serve.engine import Engine
from asr.serve.errors import Refused
from asr.serve.modes import Modes
from asr.serve_options import ServeConfig

pytestmark = pytest.mark.anyio


async def post(client: httpx.AsyncClient, content: bytes, **data: object) -> httpx.Response:
    return await client.post("/v1/audio/transcriptions", files={"file": content}, data={"model": "x", **data})


async def test_a_warm_service_is_ready_until_it_drains(model: Path) -> None:
    app = app_of(model)
    async with client_of(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        await app.state.service.drain()
        refused = await client.get("/readyz")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (await client.get("/healthz")).status_code == 200


async def test_grammars_of_written_forms_are_compiled_once_the_service_is_ready(model: Path, monkeypatch) -> None:
    compiled, go = [], threading.Event()
    monkeypatch.setattr("asr.serve.app.language_of", lambda space, tokens: "ko")
    monkeypatch.setattr("asr.text.written._compiled", lambda lang: go.wait(60) and compiled.append(lang))
    monkeypatch.setattr("asr.text.rewriting.rewritten", lambda text, grammar: [[(1, text)]])
    async with client_of(app_of(model)) as client:
        assert (await client.get("/readyz")).status_code == 200 and not compiled
        assert (await post(client, noise(0.2))).status_code == 200
        go.set()
    assert compiled == ["ko"]


async def test_errors_are_declared(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        document = (await client.get("/openapi.json")).json()
    for call in ("/v1/recognize", "/v1/audio/transcriptions", "/v1/feedback"):
        assert {"400", "401", "413", "415", "429", "503"} <= set(document["paths"][call]["post"]["responses"])


async def test_errors_have_openais_shape(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        for answer, status in (
            (await client.get("/v1/nothing"), 404),
            (await client.get("/v1/recognize"), 405),
            (await client.post("/v1/recognize", content=b"x"), 415),
            (untyped := await client.post("/v1/recognize", content=b'{"audio": ""}'), 415),
            (await client.post("/v1/recognize", json=[]), 400),
            (await client.post("/v1/recognize", json={"audio": "@"}), 400),
            (await client.post("/v1/recognize", json={"audio": "YQ=="}), 400),
            (await client.post("/v1/recognize", files={"file": b"not audio"}), 400),
            (await client.post("/v1/recognize", data={"file": "text"}), 415),
            (await client.post("/v1/recognize", files={"other": b""}), 400),
            (await client.post("/v1/feedback", json={"id": 3}), 400),
            (await client.post("/v1/feedback", content=b"\xff"), 400),
            (await client.post("/v1/recognize", content=b"{", headers={"content-type": "application/json"}), 400),
            (await client.post("/v1/recognize", content=b"--", headers={"content-type": "multipart/form-data"}), 400),
        ):
            assert answer.status_code == status, answer.text
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == "invalid_request_error" and error["message"]
    assert "Content-Type: application/json" in untyped.json()["error"]["message"]


def test_keys_that_nobody_asks_for_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no keys are required .* add require_keys=true"):
        app_of(model, keys=f"{tmp_path}/serve.db")
    assert not (tmp_path / "serve.db").exists()
    app_of(model, keys=f"{tmp_path}/serve.db", require_keys=True)
    app_of(model, keys=ServeConfig().keys)  # the default, as if nothing was given


async def test_a_bug_is_logged_and_not_told(model: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    async with client_of(app_of(model)) as client:
        monkeypatch.setattr(Modes, "of", lambda self, name: 1 / 0)
        answer = await post(client, noise())
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error" and "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text and "division by zero" not in caplog.text  # a message may quote a text


async def test_a_large_body_is_refused_before_and_while_it_is_read(model: Path) -> None:
    async def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(100):
            yield bytes(1000)

    async with client_of(app_of(model, max_upload_bytes=10_000)) as client:
        told = await post(client, bytes(20_000))
        kind = {"content-type": "multipart/form-data; boundary=x"}
        counted = await client.post("/v1/recognize", content=parts(), headers=kind)
        assert (await post(client, noise(0.2))).status_code == 200
    assert told.status_code == counted.status_code == 413
    assert told.headers["connection"] == "close"
    assert "10000 bytes" in told.json()["error"]["message"]


async def test_a_long_recording_is_refused(model: Path) -> None:
    async with client_of(app_of(model, max_audio_s=1.0)) as client:
        answer = await post(client, noise(2.0))
    assert answer.status_code == 400 and "1 s" in answer.json()["error"]["message"]


async def test_a_full_queue_refuses_before_the_body(model: Path) -> None:
    app = app_of(model, queue=0)
    async with client_of(app) as client:
        async with app.state.service.engine.place(), app.state.service.engine.place():
            answer = await post(client, noise())
        assert (await post(client, noise())).status_code == 200
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["code"] == "overloaded"


async def test_places_are_given_back() -> None:
    engine = Engine(ServeConfig(queue=1), threads=1)
    with pytest.raises(ZeroDivisionError):
        async with engine.place():
            assert (engine.running, engine.waiting) == (1, 0)
            async with engine.place():
                assert (engine.running, engine.waiting) == (1, 1)
                with pytest.raises(Refused, match="busy"):
                    async with engine.place():
                        pass
            raise ZeroDivisionError
    assert engine.taken == 0
    engine.close()


async def test_metrics_count_answers_words_and_stages(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        assert (await post(client, noise())).json()["text"]
        await client.get("/some/path/of/a/stranger")
        text = (await client.get("/metrics")).text
    assert 'asr_requests_total{path="/v1/audio/transcriptions",status="200"} 1.0' in text
    assert 'asr_requests_total{path="other",status="404"} 1.0' in text and "stranger" not in text
    for stage in ("queue", "decode", "prepare", "model", "search"):
        assert f'asr_stage_seconds_count{{stage="{stage}"}} 1.0' in text
    assert 'asr_audio_seconds_total{mode="dictation"} 1.5' in text
    assert "asr_requests_waiting 0.0" in text and "asr_ready 1.0" in text
    assert 'asr_real_time_factor_count{mode="dictation"} 1.0' in text
    assert "asr_audio_level_db_count 1.0" in text
    assert 'asr_words_total{accepted="true",mode="dictation"}' in text


async def test_the_document_describes_each_call(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
        assert (await client.get("/redoc")).status_code == 404
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    assert re.findall(r"""\b(?:src|href)=["']?([^"'> ]*)""", page.text) == [
        "openapi.json"
    ]  # nothing comes from elsewhere
    assert not re.search(r"<script|@import|url\(", page.text)
    for call in ("POST /v1/recognize", "GET /healthz", "timestamp_granularities[]", "reject_below", "turn off"):
        assert call in page.text
    paths = document["paths"]
    assert {"/v1/audio/transcriptions", "/v1/recognize", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(paths)
    form = paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "model", "keywords[]", "timestamp_granularities[]"} <= set(form["properties"])
    recognize = paths["/v1/recognize"]["post"]
    assert recognize["requestBody"]["content"]["application/json"]["example"]["mode"] == "word"
    assert recognize["responses"]["200"]["content"]["application/json"]["example"]["text"]


@pytest.mark.parametrize("origins,allowed", [([], False), (["https://app.example"], True)])
async def test_other_origins_are_allowed_by_name_only(model: Path, origins: list[str], allowed: bool) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    async with client_of(app_of(model, cors_origins=origins)) as client:
        answer = await client.options("/v1/recognize", headers=asked)
        other = await client.options("/v1/recognize", headers={**asked, "origin": "https://evil.example"})
    assert ("access-control-allow-origin" in answer.headers) is allowed
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "modes,says",
    [
        ([], "serve.modes is empty"),
        (["dictate"], "choose among word, dictation, web, local; did you mean 'dictation'"),
        (["word", "word"], "'word' twice"),
        (["dictation=missing.asr"], "missing.asr, which does not exist"),
        (["dictation", "local=x.ngram"], "needs a dynamic graph"),
    ],
)
def test_wrong_modes_are_named_before_serving(model: Path, modes: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        app_of(model, modes=modes)


def test_every_option_of_the_service_is_read() -> None:
    room = Path(asr.__file__).parent / "serve"
    code = "\n".join(path.read_text(encoding="utf-8") for path in room.glob("*.py"))
    assert [f.name for f in dataclasses.fields(ServeConfig) if not re.search(rf"\.{f.name}\b", code)] == []
