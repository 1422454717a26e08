"""Services for the tests: a small bundle, the app with a client in this process, and a real process."""

import io
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import soundfile
import tiny
from fastapi import FastAPI

from asr.config import Config
from asr.hypothesis import Hypothesis
from asr.recognizer import bundle
from asr.serve.app import make_app
from asr.serve_options import ServeConfig


class Shouted:
    """Written forms that any language has."""

    def __call__(self, hypothesis: Hypothesis) -> Hypothesis:
        return self.marked(self.formed(hypothesis))

    def formed(self, hypothesis: Hypothesis) -> Hypothesis:
        words = [replace(word, word=word.word.upper()) for word in hypothesis.words]
        return replace(hypothesis, text=hypothesis.text.upper(), words=words)

    def marked(self, hypothesis: Hypothesis, *_: object) -> Hypothesis:
        return replace(hypothesis, text=f"{hypothesis.text}.")


def bundle_in(folder: Path) -> Path:
    """A bundle of the words `a` and `b`."""
    cfg = tiny.config()
    bundle.write(folder / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(folder / "graph"), "card")
    return folder / "m.asr"


def wav(samples: np.ndarray, rate_hz: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def noise(seconds: float = 1.5, seed: int = 0) -> bytes:
    return wav(tiny.noise(seconds, seed))


def app_of(model: Path, **options: object) -> FastAPI:
    """The app with these options of the group `serve`."""
    return make_app(Config(bundle=str(model), threads=2, serve=ServeConfig(**options)))


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that has started."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


class Process:
    """`asr serve` on a free port. `log` grows while it runs."""

    def __init__(self, model: Path, options: Sequence[str]):
        command = [sys.executable, "-m", "asr", "serve", str(model), "port=0", *options]
        # With the limit of open files that many systems have.
        command = ["bash", "-c", 'ulimit -Sn 1024; exec "$@"', "bash", *command]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # tests run by nohup ignore it
        )  # fmt: skip
        self.log: list[str] = []
        self.port = 0
        started = threading.Event()

        def read() -> None:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                self.log.append(line)
                if found := re.search(r"listening on http://[^:]+:(\d+)", line):
                    self.port = int(found[1])
                    started.set()
            started.set()

        threading.Thread(target=read, daemon=True).start()
        if not started.wait(300) or not self.port:  # a busy machine takes minutes to import torch
            self.process.kill()
            raise AssertionError("".join(self.log))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(300)  # a busy machine takes minutes


@contextmanager
def running(model: Path, *options: str) -> Iterator[Process]:
    process = Process(model, options)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()
