"""The app of the service: health, errors, and what a caller may ask."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import tiny
from fastapi import FastAPI

from asr.config import Config
from asr.recognizer import bundle
from asr.serve.app import make_app


@pytest.fixture
def model(tmp_path: Path) -> Path:
    cfg = tiny.config()
    bundle.write(tmp_path / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(tmp_path / "graph"), "card")
    return tmp_path / "m.asr"


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that has started."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@pytest.fixture(params=["asyncio"])
def anyio_backend(request) -> Iterator[str]:
    return request.param


@pytest.mark.anyio
async def test_a_warm_service_is_ready(model: Path) -> None:
    app = make_app(Config(bundle=str(model)))
    async with client_of(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        app.state.service.is_ready = False
        assert (await client.get("/readyz")).status_code == 503


@pytest.mark.anyio
async def test_errors_have_openais_shape(model: Path) -> None:
    async with client_of(make_app(Config(bundle=str(model)))) as client:
        answer = await client.get("/v1/nothing")
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert "/docs" in answer.json()["error"]["message"]
