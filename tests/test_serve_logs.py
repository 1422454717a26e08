"""A real uvicorn process: its logs tell who connected to what, without the key that came with it."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

SERVER = """
import sys
import uvicorn
from fastapi import FastAPI, WebSocket
from asr.serve import logs

app = FastAPI()
logs.protect()

@app.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(str(len(websocket.query_params["key"])))
    await websocket.close()

uvicorn.run(app, port=int(sys.argv[1]), log_level=sys.argv[2])
"""
KEY = "asr_" + "Ab3-_" * 8 + "xyz"


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_key_reaches_the_logs(tmp_path: Path, level: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(tmp_path / "log", "wb") as log:
        command = [sys.executable, "-c", SERVER, str(port), level]
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/v1/x?key={KEY}", headers={"Authorization": f"Bearer {KEY}"})
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
        for query in (f"key={KEY}", f"a=1&k%65y={KEY}"):
            with connect(f"ws://127.0.0.1:{port}/v1/stream?{query}", additional_headers={"x": KEY}) as client:
                assert client.recv() == str(len(KEY))
    finally:
        process.terminate()
        process.wait(timeout=30)
    told = (tmp_path / "log").read_text()
    assert "/v1/stream?..." in told and "/v1/x?..." in told
    assert KEY not in told and KEY[4:] not in told
