"""Requests that are made to hurt: each gets one sentence in little time, and the service stays up."""

import json
import time
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from served import bundle_in, client_of, noise

from asr.config import Config
from asr.serve.app import make_app
from asr.serve.errors import LONGEST_MESSAGE
from asr.serve_options import ServeConfig

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_in(tmp_path_factory.mktemp("model"))


def app_of(model: Path, **options: object) -> FastAPI:
    return make_app(Config(bundle=str(model), threads=2, serve=ServeConfig(**options)))


async def recognise(client: httpx.AsyncClient, request: str) -> httpx.Response:
    return await client.post("/v1/recognize", files={"file": noise()}, data={"request": request})


@pytest.mark.parametrize(
    "request_,says",
    [
        ("{" + ",".join(f'"k{i}":1' for i in range(100_000)) + ',"k99999":1}', "'k99999' occurs twice"),
        ('{"words":[' + "1," * 500_000 + "1]}", "words.0: must be a valid string"),
        ('{"new_words":[' + "1," * 500_000 + "1]}", "new_words.0"),
        (json.dumps({"phrases": {f"k{i}": "x" for i in range(100_000)}}), "phrases.k0: must be a valid number"),
        ('{"x":[' + "[]," * 1_000_000 + "1]}", "more than 1000000 values"),
        ("[" * 1_000_000, "nested too deeply"),
        ('{"nbest":' + "9" * 100_000 + "}", "not JSON"),
        (json.dumps({"mode": "x" * 1_000_000}), "there is no mode 'xxx"),
    ],
)
async def test_json_costs_little(model: Path, request_: str, says: str) -> None:
    async with client_of(app_of(model)) as client:
        start_s = time.process_time()
        answer = await recognise(client, request_)
        assert time.process_time() - start_s < 2
    error = answer.json()["error"]
    assert answer.status_code == 400 and says in error["message"] and len(error["message"]) < LONGEST_MESSAGE + 10


@pytest.mark.parametrize(
    "body,status",
    [
        (b"[" * 100_000, 400),
        (b"[" + b"1," * 1_000_000 + b"1]", 413),
        (b'{"id":"\xff","text":"x"}', 400),
        (rb'{"id":"\ud800","text":["\ud800"]}', 400),
        (b'{"id":NaN,"text":Infinity}', 400),
        (b'{"id":' + b"9" * 5000 + b"}", 400),
        (b"", 400),
    ],
)
async def test_corrections_are_read_with_care(model: Path, body: bytes, status: int) -> None:
    async with client_of(app_of(model)) as client:
        answer = await client.post("/v1/feedback", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status and set(answer.json()) == {"error"}


async def test_weights_may_differ_by_any_factor(model: Path) -> None:
    grammar = "#JSGF V1.0;\ngrammar g;\npublic <g> = /1e-320/ a | /1e308/ b;"
    async with client_of(app_of(model)) as client:
        for asked in ({"grammar": grammar}, {"words": {"a": 5e-324, "b": 1e308}}, {"words": {"a": 1e308, "b": 1e308}}):
            answer = await recognise(client, json.dumps(asked))
            assert answer.status_code in (200, 400), answer.text
