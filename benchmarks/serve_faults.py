"""Overload and faults, for benchmarks/serve.py: what clients see, and whether the service is up afterwards."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.serve_load import Answer, Recording, Server, form, percentile, post, serving, speak, wav

TESTS = Path(__file__).parent.parent / "tests"
QUEUE = 32  # requests that may wait, by default
Row = dict[str, Any]


def overload(model: str, sounds: Sequence[Recording], text: str, clip: bytes, count: int, seconds: float) -> Row:
    """Three times as many streams, and as many requests, as the service takes."""
    result: Row = {}
    with serving(model, f"max_sessions={count}") as server:

        async def streams() -> Row:
            refusals: list[float] = []

            async def client(number: int) -> Any:
                await asyncio.sleep(number * 1.0 / count)
                start_s = time.perf_counter()
                heard = await speak(server.port, sounds[number % len(sounds)])
                if heard.error and not heard.audio_s and not heard.texts:
                    refusals.append(time.perf_counter() - start_s)
                return heard

            heard = await asyncio.gather(*(client(number) for number in range(3 * count)))
            taken = [each for each in heard if each.audio_s]
            errors = Counter(each.error for each in heard if each.error)
            finals = [s for each in taken for s in each.to_finals]
            return {"asked": len(heard), "answered": len(taken), **_refusals(refusals), "errors": dict(errors),
                    "to_finals_p95": percentile(1000, finals, 95), "up": server.is_up}  # fmt: skip

        result["streams"] = asyncio.run(streams())
    with serving(model) as server:
        clients = 3 * (QUEUE + (os.cpu_count() or 1))
        result["requests"] = {"clients": clients, **asyncio.run(_posts(server, clip, text, clients, seconds))}
    return result


async def _posts(server: Server, clip: bytes, text: str, clients: int, seconds: float) -> Row:
    """Clients that post again as soon as they have an answer, and as `Retry-After` asks them to."""
    body, kind = form(clip)
    right = (await post(server.port, "/v1/recognize", body, kind)).body["text"]
    answers: list[Answer] = []
    until_s = time.monotonic() + seconds

    async def client(number: int) -> None:
        await asyncio.sleep(2.0 * number / clients)
        while time.monotonic() < until_s:
            answers.append(await post(server.port, "/v1/recognize", body, kind))
            if answers[-1].status != 200:
                await asyncio.sleep(float(answers[-1].headers.get("retry-after", 1)))

    await asyncio.gather(*(client(number) for number in range(clients)))
    refused = [a for a in answers if a.status in (429, 503)]
    return {
        "asked": len(answers), "statuses": dict(Counter(a.status for a in answers)),
        "other_words": sum(a.status == 200 and a.body.get("text") != right for a in answers),
        "without_retry_after": sum("retry-after" not in a.headers for a in refused),
        "answer_p95": percentile(1000, [a.seconds for a in answers if a.status == 200], 95),
        **_refusals([a.first_s for a in refused]), "up": server.is_up,
    }  # fmt: skip


def _refusals(seconds: list[float]) -> Row:
    return {"refused": len(seconds), **{f"refusal_p{p}": percentile(1000, seconds, p) for p in (50, 95, 100)}}


class Case:
    """A service, and a recording whose words are known."""

    def __init__(self, model: str, sound: Recording, clip: np.ndarray, rate_hz: int):
        self.model, self.sound, self.clip, self.rate_hz = model, sound, clip, rate_hz
        self.body, self.kind = form(wav(clip, rate_hz))
        self.long_body = form(wav(np.resize(clip, 20 * rate_hz), rate_hz))[0]

    def post(self, server: Server, body: bytes | None = None) -> Answer:
        return asyncio.run(post(server.port, "/v1/recognize", body or self.body, self.kind))

    def correct(self, server: Server, id: str) -> Answer:
        told = json.dumps({"id": id, "text": "corrected"}).encode()
        return asyncio.run(post(server.port, "/v1/feedback", told, "application/json"))


def faults(model: str, sound: Recording, text: str, clip: np.ndarray, rate_hz: int, only: str) -> list[Row]:
    case, rows = Case(model, sound, clip, rate_hz), []
    for name, run in FAULTS.items():
        if only in name:
            start_s = time.monotonic()
            rows.append({"fault": name, **run(case)})
            print(f"{name} ({time.monotonic() - start_s:.0f} s): {rows[-1]}", flush=True)
    return rows


def killed_decoders(case: Case) -> Row:
    """SIGKILL of every process that decodes sound, while requests wait for it."""
    with serving(case.model) as server:

        async def run() -> list[Answer]:
            requests = [
                asyncio.create_task(post(server.port, "/v1/recognize", case.long_body, case.kind)) for _ in range(8)
            ]
            await asyncio.sleep(0.05)
            for _ in range(5):
                for pid in server.processes()[1:]:
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.1)
            return await asyncio.gather(*requests)

        return {"clients_saw": seen(asyncio.run(run())), **well(case, server)}


def full_disk(case: Case) -> Row:
    """The database of answers on a disk that is full."""
    with small_disk() as folder, keeping(case.model, f"{folder}/serve.db") as server:
        before = case.post(server)
        filler = open(folder / "filler", "wb", buffering=0)
        with filler:
            for size in (65536, 512, 1):
                try:
                    while filler.write(bytes(size)):
                        pass
                except OSError:
                    continue
        full = [case.post(server) for _ in range(5)]
        corrections = [case.correct(server, before.body["id"])]
        (folder / "filler").unlink()
        after = case.post(server)
        corrections.append(case.correct(server, after.body["id"]))
        return {"clients_saw": seen(full), "corrections": seen(corrections), **well(case, server)}


def locked_database(case: Case) -> Row:
    """Another process holds SQLite's lock."""
    with tempfile.TemporaryDirectory() as folder, keeping(case.model, f"{folder}/serve.db") as server:
        before = case.post(server)
        other = sqlite3.connect(f"{folder}/serve.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        locked = [case.post(server)]
        corrections = [case.correct(server, before.body["id"])]
        other.execute("ROLLBACK")
        corrections.append(case.correct(server, before.body["id"]))
        waits = {"answer_s": locked[0].seconds, "correction_s": corrections[0].seconds}
        return {"clients_saw": seen(locked), "corrections": seen(corrections),
                **{name: round(seconds, 2) for name, seconds in waits.items()}, **well(case, server)}  # fmt: skip


def restarted_postgresql(case: Case) -> Row:
    """PostgreSQL is stopped at once, and started again."""
    sys.path.insert(0, str(TESTS))
    from postgres import Postgres  # type: ignore[import-not-found]

    postgres = Postgres()
    try:
        with keeping(case.model, postgres.url) as server:
            before = case.post(server)
            postgres.stop()
            down = [case.post(server)]
            corrections = [case.correct(server, before.body["id"])]
            postgres.start()
            corrections.append(case.correct(server, before.body["id"]))
            return {"clients_saw": seen(down), "corrections": seen(corrections), **well(case, server)}
    finally:
        postgres.remove()


def gone_clients(case: Case) -> Row:
    """Connections reset in the middle of streams and of uploads; one of the streams is resumed."""
    with serving(case.model) as server:
        alone = asyncio.run(speak(server.port, case.sound))

        async def run() -> int:
            for _ in range(20):
                ws = await connect(f"ws://127.0.0.1:{server.port}/v1/stream")
                await ws.send(json.dumps({"type": "start", "sample_rate_hz": case.rate_hz}))
                started = json.loads(await ws.recv())
                await ws.send(case.sound.pcm[: case.rate_hz])
                lingering(ws.transport.get_extra_info("socket"))
                ws.transport.abort()
            async with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as ws:
                await ws.send(json.dumps({"type": "resume", "session": started["session"]}))
                received = json.loads(await ws.recv())["received_bytes"]
                await ws.send(case.sound.pcm[received:])
                await ws.send('{"type": "close"}')
                events = [json.loads(message) async for message in ws]
            return int([e["text"] for e in events if e["type"] == "final"] == alone.texts)

        resumed = asyncio.run(run())
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                head = f"POST /v1/recognize HTTP/1.1\r\nHost: a\r\nContent-Type: {case.kind}\r\nContent-Length: "
                client.sendall(f"{head}{len(case.long_body)}\r\n\r\n".encode() + case.long_body[:50_000])
                lingering(client)
        return {
            "clients_saw": f"20 streams, 20 uploads cut; resumed with all words: {resumed} of 1",
            **well(case, server),
        }


def malformed(case: Case) -> Row:
    """A thousand broken recordings, JSON bodies, forms and WebSocket messages, made of valid ones."""
    rng, found = np.random.default_rng(1), {}
    asked = json.dumps({"audio": "UklGRiQAAABXQVZF", "words": ["one"], "phrases": {"one": 1.0}}).encode()
    closed: Counter[str] = Counter()
    with serving(case.model) as server:

        def posted(made: Callable[[], bytes], count: int, kind: str = case.kind) -> dict[str, int]:
            return seen([asyncio.run(post(server.port, "/v1/recognize", made(), kind)) for _ in range(count)])

        for name in ("WAV", "FLAC", "OGG", "MP3"):
            whole = wav(case.clip, case.rate_hz, name)
            found[name] = posted(lambda whole=whole: form(broken(whole, rng))[0], 100)
        found["JSON"] = posted(lambda: broken(asked, rng), 200, "application/json")
        found["forms"] = posted(lambda: broken(case.body, rng), 100)
        for _ in range(300):
            closed[asyncio.run(_broken_stream(server.port, case.rate_hz, rng))] += 1
        return {"clients_saw": {**found, "streams": dict(closed)}, **well(case, server)}


async def _broken_stream(port: int, rate_hz: int, rng: np.random.Generator) -> str:
    """The code by which the service closes a stream whose messages are broken."""
    start = json.dumps({"type": "start", "sample_rate_hz": rate_hz, "endpoint": {"vad": "energy"}}).encode()
    begins = rng.integers(2)
    async with connect(f"ws://127.0.0.1:{port}/v1/stream") as ws:
        try:
            await ws.send(start.decode() if begins else broken(start, rng).decode("utf-8", "replace"))
            for _ in range(int(rng.integers(1, 5))):
                message = broken(b'{"type": "finalize"}', rng)
                await ws.send(message if rng.integers(2) else message.decode("utf-8", "replace"))
            await ws.send('{"type": "close"}')
            async with asyncio.timeout(30):
                async for _ in ws:
                    pass
        except ConnectionClosed:
            pass
        except TimeoutError:
            return "hangs"
    return str(ws.close_code)


def broken(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, left out or doubled, or the end cut off."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at, size = int(rng.integers(len(found) + 1)), int(rng.integers(1, 9))
        kind = rng.integers(4)
        if kind == 0:
            found[at : at + size] = rng.bytes(min(size, len(found) - at))
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:
            found[at:at] = found[at : at + size]
        elif rng.integers(4) == 0:
            del found[at:]
    return bytes(found)


def idle_connections(case: Case) -> Row:
    """A thousand connections that say nothing."""
    with serving(case.model) as server, ExitStack() as stack:
        rss_mb, cpu_s = server.rss_mb(), 0.0
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        answers = [case.post(server) for _ in range(20)]
        cpu_s, start_s = server.cpu_s(), time.monotonic()
        time.sleep(5)
        idle = (server.cpu_s() - cpu_s) / (time.monotonic() - start_s)
        row = {"clients_saw": seen(answers), "slowest_ms": percentile(1000, [a.seconds for a in answers], 100),
               "mb_more": round(server.rss_mb() - rss_mb, 1), "idle_cores": round(idle, 3)}  # fmt: skip
        return {**row, **well(case, server)}


FAULTS: dict[str, Callable[[Case], Row]] = {
    "SIGKILL of the decoders": killed_decoders,
    "full disk": full_disk,
    "locked database": locked_database,
    "PostgreSQL restarted": restarted_postgresql,
    "clients gone": gone_clients,
    "malformed requests": malformed,
    "idle connections": idle_connections,
}


def seen(answers: Sequence[Answer]) -> dict[str, int]:
    """The statuses, with the code of the error if there is one."""
    codes = ((a.body.get("error") or {}).get("code") if isinstance(a.body, dict) else None for a in answers)
    return dict(Counter(f"{a.status}{f' {code}' if code else ''}" for a, code in zip(answers, codes, strict=True)))


def well(case: Case, server: Server) -> Row:
    """Whether the service answers as before."""
    last = case.post(server)
    return {"then": last.status, "up": server.is_up, "tracebacks": sum("Traceback" in line for line in server.log)}


def lingering(client: Any) -> None:
    """A connection that breaks without a goodbye when it is closed."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def keeping(model: str, database: str) -> Any:
    return serving(model, f"keys={database}", "keep_text=true", "keep_audio=true")


@contextmanager
def small_disk() -> Iterator[Path]:
    """A disk of 2 MB, which takes root."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)
