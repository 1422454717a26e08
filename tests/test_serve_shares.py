"""No key takes what others need: places of the queue, live sessions, held bytes, client secrets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import pytest
from bursts import serving
from fastapi import FastAPI
from served import app_of, client_of, noise
from test_serve_live import START, event
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asr.config import Config
from asr.serve.keys import Keys
from asr.serve.store import Store

pytestmark = pytest.mark.anyio
FORM = {"content-type": "multipart/form-data; boundary=x"}


def with_keys(app: FastAPI, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The headers of two keys."""
    app.state.service.keys = keys = Keys(Store(str(folder / "serve.db")), rate_per_minute=10_000)
    ann, ben = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ann", "ben"))
    return ann, ben


class Slow:
    """Uploads that have begun, and end when they are told to."""

    def __init__(self, size: int = 10) -> None:
        self.size, self.begun, self.is_over = size, 0, asyncio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(self.size)
        self.begun += 1
        await self.is_over.wait()
        yield b"\r\n--x--"

    async def start(self, client: httpx.AsyncClient, headers: dict[str, str], number: int) -> list[asyncio.Task]:
        tasks = [
            asyncio.create_task(client.post("/v1/recognize", content=self.body(), headers=headers | FORM))
            for _ in range(number)
        ]
        while self.begun < number:
            await asyncio.sleep(0.01)
        return tasks


async def test_one_key_cannot_take_all_places(model: Path, tmp_path: Path) -> None:
    app = app_of(model, queue=4, requests_per_key=3)
    ann, ben = with_keys(app, tmp_path)
    async with client_of(app) as client:
        uploads = Slow()
        tasks = await uploads.start(client, ann, 3)
        refused = await client.post("/v1/recognize", files={"file": noise(0.2)}, headers=ann)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.post("/v1/recognize", files={"file": noise(0.2)}, headers=ben)).status_code == 200
        uploads.is_over.set()
        assert {(await task).status_code for task in tasks} == {400}  # no audio
        for path, stream in (("/v1/recognize", {}), ("/v1/audio/transcriptions", {"stream": "true", "model": "x"})):
            for _ in range(4):  # places are given back
                answer = await client.post(path, files={"file": noise(0.2)}, data=stream, headers=ann)
                assert answer.status_code == 200
        assert app.state.service.requests.taken == {}


async def test_by_default_a_key_has_half_of_the_places(model: Path, tmp_path: Path) -> None:
    app = app_of(model, queue=2)  # and two threads
    ann, ben = with_keys(app, tmp_path)
    async with client_of(app) as client:
        uploads = Slow()
        tasks = await uploads.start(client, ann, 2) + await uploads.start(client, ben, 2)
        assert (await client.post("/v1/recognize", files={"file": noise(0.2)}, headers=ann)).status_code == 429
        uploads.is_over.set()
        await asyncio.wait(tasks)


async def test_without_keys_all_places_are_anyones(model: Path) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_of(app_of(model, queue=2, requests_per_key=1)))
        uploads = Slow()
        tasks = await uploads.start(client, {}, 4)
        uploads.is_over.set()
        assert {(await task).status_code for task in tasks} == {400}


async def test_one_key_cannot_hold_all_bytes(model: Path, tmp_path: Path) -> None:
    app = app_of(model, max_held_bytes=100_000)
    ann, ben = with_keys(app, tmp_path)
    async with client_of(app) as client:
        uploads = Slow(40_000)
        (first,) = await uploads.start(client, ann, 1)
        refused = await client.post("/v1/recognize", content=bytes(20_000), headers=ann | FORM)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_bytes")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.post("/v1/recognize", content=bytes(20_000), headers=ben | FORM)).status_code == 400
        uploads.is_over.set()
        await first
        assert (await client.post("/v1/recognize", content=bytes(60_000), headers=ann | FORM)).status_code == 400


def test_one_key_cannot_take_all_sessions(tmp_path: Path) -> None:
    cfg = Config()
    cfg.serve.max_sessions, cfg.serve.sessions_per_key = 4, 2
    with serving(cfg) as service, ExitStack() as stack:
        ann, ben = with_keys(service.app, tmp_path)
        at = f"ws://{service.at}/v1/stream"

        def opened(headers: dict[str, str]) -> dict:
            ws = stack.enter_context(connect(at, additional_headers=headers, close_timeout=1))
            ws.send(json.dumps(START))
            return event(ws)

        assert [opened(ann)["type"] for _ in range(2)] == ["started", "started"]
        refused = opened(ann)
        assert (refused["type"], refused["error"]["code"]) == ("error", "too_many_sessions")
        assert refused["error"]["retry_after_s"] >= 1
        realtime = f"ws://{service.at}/v1/realtime?intent=transcription"
        with pytest.raises(InvalidStatus) as e:
            connect(realtime, additional_headers=ann)
        assert e.value.response.status_code == 429 and int(e.value.response.headers["retry-after"]) >= 1
        assert [opened(ben)["type"] for _ in range(2)] == ["started", "started"]
        with pytest.raises(InvalidStatus) as e:
            connect(realtime, additional_headers=ben)
        assert e.value.response.status_code == 503 and int(e.value.response.headers["retry-after"]) >= 1


async def test_one_key_cannot_take_all_client_secrets(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.serve.client_secrets.MOST_PER_KEY", 2)
    app = app_of(model)
    ann, ben = with_keys(app, tmp_path)
    async with client_of(app) as client:
        secrets = [await client.post("/v1/realtime/client_secrets", json={}, headers=ann) for _ in range(3)]
        assert [answer.status_code for answer in secrets] == [200, 200, 429]
        assert int(secrets[-1].headers["retry-after"]) >= 1
        assert (await client.post("/v1/realtime/client_secrets", json={}, headers=ben)).status_code == 200
        strange = await client.post("/v1/realtime/client_secrets", content=bytes(2 << 20))
        assert strange.status_code == 401  # told before the body is read
        assert (
            await client.post("/v1/realtime/client_secrets", content=bytes(2 << 20), headers=ben)
        ).status_code == 413
