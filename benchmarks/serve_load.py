"""What the sub-commands of benchmarks/serve.py share: the service in a process of its own, clients that speak in real
time, requests over plain sockets, and the files of results."""

import asyncio
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from asr import manifest
from asr.features import audio
from asr.files import atomic_write
from asr.search.endpoint import SEMANTIC

CHUNK_S = 0.1  # of sound in a message
PAUSES_S = (1.3, 2.0)  # between utterances: longer than the rules of endpoints ask for
NOISE = 0.0005  # of full scale, in pauses too
LOUD = 0.02  # of the peak of an utterance; softer sound at its end is silence
DISTINCT = 4  # recordings, whatever the number of streams: they must get the same words in each
HANG_OVERS_S = {rule.name: rule.silence_s for rule in SEMANTIC}
MOST_LAG_S = 10.0  # a client leaves after that
RESULTS = Path(__file__).parent / "results"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """`asr serve` on a free port, with its database in a folder of its own, or another command that serves."""

    def __init__(self, model: str, options: Sequence[str] = (), command: Sequence[str] | None = None):
        self.folder = tempfile.TemporaryDirectory(prefix="serve-")
        own = () if any(option.startswith("keys=") for option in options) else (f"keys={self.folder.name}/serve.db",)
        serves = [sys.executable, "-m", "asr", "serve", str(Path(model).resolve()), "port=0", *own, *options]
        self.process = subprocess.Popen(
            command or serves, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=None if command else self.folder.name,
        )  # fmt: skip
        self.log: list[str] = []
        self.port = 0
        started = threading.Event()

        def read() -> None:
            assert self.process.stdout
            for line in self.process.stdout:
                self.log = [*self.log[-999:], line]
                if "listening on http://" in line:
                    self.port = int(line.split("http://")[1].split(";")[0].rpartition(":")[2])
                    started.set()
            started.set()

        threading.Thread(target=read, daemon=True).start()
        if not started.wait(120) or not self.port:
            raise SystemExit("the service did not start:\n" + "".join(self.log))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return self.process.poll() is None

    def processes(self) -> list[int]:
        """The service and what it started."""
        children = defaultdict(list)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                children[int(_stat(stat)[1])].append(int(stat.parent.name))
            except (OSError, IndexError):
                continue
        found = [self.process.pid]
        for pid in found:
            found += children[pid]
        return found

    def cpu_s(self) -> float:
        """CPU seconds of the service, its children and those that have ended."""
        fields = [_stat(Path(f"/proc/{pid}/stat")) for pid in self.processes()]
        return sum(sum(map(int, each[11:15])) for each in fields) / TICKS

    def rss_mb(self) -> float:
        """Resident memory of the service's own process."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE / 1e6

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


@contextmanager
def serving(model: str, *options: str) -> Iterator[Server]:
    server = Server(model, options)
    try:
        yield server
    finally:
        server.stop()


def _stat(path: Path) -> list[str]:
    """The fields of a /proc/PID/stat behind the name: state, parent, ..."""
    return path.read_text().rpartition(")")[2].split()


@dataclass(frozen=True)
class Recording:
    """Utterances with pauses between them, as they come from a microphone."""

    pcm: bytes
    rate_hz: int
    ends_s: tuple[float, ...]  # where speech ends

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / 2 / self.rate_hz

    def chunks(self) -> list[bytes]:
        size = 2 * round(CHUNK_S * self.rate_hz)
        return [self.pcm[first : first + size] for first in range(0, len(self.pcm), size)]


def utterances(path: str, rate_hz: int, most: int | None = None) -> list[tuple[str, np.ndarray]]:
    """Texts and samples of a manifest."""
    return [(u.transcript, audio.load(u.audio, sample_rate_hz=rate_hz)) for u in manifest.read(path)[:most]]


def recording(sounds: Sequence[np.ndarray], rate_hz: int, seconds: float, seed: int) -> Recording:
    """At least `seconds` of utterances in random order, the last one with its pause."""
    rng = np.random.default_rng(seed)
    parts, ends_s, length = [np.zeros(rate_hz // 2, np.float32)], [], rate_hz // 2
    while length < seconds * rate_hz:
        sound = sounds[int(rng.integers(len(sounds)))]
        pause = np.zeros(round(rng.uniform(*PAUSES_S) * rate_hz), np.float32)
        loud = np.flatnonzero(np.abs(sound) > LOUD * np.abs(sound).max())
        ends_s.append((length + int(loud[-1]) + 1) / rate_hz)
        parts += [sound, pause]
        length += len(sound) + len(pause)
    samples = np.concatenate(parts) + NOISE * rng.standard_normal(length)
    return Recording((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), rate_hz, tuple(ends_s))


@dataclass
class Heard:
    """What a client saw. Latencies in seconds."""

    texts: list[str] = field(default_factory=list)
    to_finals: list[float] = field(default_factory=list)  # from the moment that the endpoint's silence was long enough
    from_speech: list[float] = field(default_factory=list)  # from the end of speech, with the hang-over
    to_words: list[float] = field(default_factory=list)  # from the end of a word to the first partial result with it
    lag_s: float = 0.0  # of the last answer, behind the last sound
    audio_s: float = 0.0
    error: str | None = None


async def speak(port: int, sound: Recording, start_s: float = 0.0, **start: Any) -> Heard:
    """Sends a recording in real time and measures what comes back."""
    heard = Heard()
    await asyncio.sleep(start_s)
    try:
        async with connect(f"ws://127.0.0.1:{port}/v1/stream", open_timeout=60, ping_interval=None) as ws:
            await ws.send(json.dumps({"type": "start", "sample_rate_hz": sound.rate_hz, **start}))
            first = json.loads(await ws.recv())
            if first["type"] != "started":
                heard.error = first["error"]["message"]
                return heard
            began_s = time.monotonic()
            listening = asyncio.create_task(_listen(ws, heard, sound, began_s))
            for number, chunk in enumerate(sound.chunks(), 1):
                await asyncio.sleep(max(0.0, began_s + number * CHUNK_S - time.monotonic()))
                await ws.send(chunk)
            await ws.send('{"type": "close"}')
            closed_s = time.monotonic()
            await asyncio.wait_for(listening, MOST_LAG_S)
            due_s = began_s + len(sound.chunks()) * CHUNK_S
            heard.lag_s = time.monotonic() - min(due_s, closed_s)
    except TimeoutError:
        heard.error, heard.lag_s = "lags", MOST_LAG_S
    except (ConnectionClosed, OSError) as e:
        heard.error = heard.error or str(e) or type(e).__name__
    return heard


async def _listen(ws: ClientConnection, heard: Heard, sound: Recording, began_s: float) -> None:
    rule, words, ended_s = None, 0, 0.0
    async for message in ws:
        now_s = time.monotonic() - began_s
        event = json.loads(message)
        if event["type"] == "partial":
            for word in event["words"][words:]:
                heard.to_words.append(now_s - word["end_s"])
            words = max(words, len(event["words"]))
        elif event["type"] == "endpoint":
            rule, ended_s = event["rule"], event["at_s"]
        elif event["type"] == "final":
            heard.texts.append(event["text"])
            if rule in HANG_OVERS_S and rule != "long utterance":
                heard.to_finals.append(now_s - ended_s - HANG_OVERS_S[rule])
                if before := [end for end in sound.ends_s if event["start_s"] < end < event["end_s"]]:
                    heard.from_speech.append(now_s - before[-1])
            rule, words = None, 0
        elif event["type"] == "closed":
            heard.audio_s = event["audio_s"]
        elif event["type"] == "error":
            heard.error = event["error"]["message"]


@dataclass
class Load:
    """Streams at the same time, and what the service needed for them."""

    streams: int
    heard: list[Heard]
    cores: float  # mean number of cores that the service kept busy
    own_cores: float  # of the clients
    rss_mb: float
    differing: int  # streams that got other words than those that others got for the same sound
    seconds: float

    @property
    def errors(self) -> list[str]:
        return [heard.error for heard in self.heard if heard.error]

    def row(self) -> dict[str, float | int]:
        """Latencies in ms."""
        columns = {name: [s for h in self.heard for s in getattr(h, name)]
                   for name in ("to_finals", "from_speech", "to_words")}  # fmt: skip
        audio_s = sum(heard.audio_s for heard in self.heard)
        return {
            "streams": self.streams,
            "finals": len(columns["to_finals"]),
            **{f"{name}_p{p}": percentile(1000, found, p) for name, found in columns.items() for p in (50, 95, 99)},
            "lag_s": round(max(heard.lag_s for heard in self.heard), 2),
            "cores": round(self.cores, 3),
            "cpu_per_audio_s": round(self.cores * self.seconds / audio_s, 4) if audio_s else 0.0,
            "own_cores": round(self.own_cores, 3),
            "rss_mb": round(self.rss_mb),
            "errors": len(self.errors),
            "differing": self.differing,
        }


@dataclass(frozen=True)
class Answer:
    """`seconds`: to the status line, and to the end of the body. Status 0: the connection broke."""

    status: int
    first_s: float
    seconds: float
    headers: dict[str, str]
    body: dict[str, Any]


async def post(port: int, path: str, body: bytes, kind: str) -> Answer:
    """One request on a connection of its own."""
    start_s = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        first_s = time.perf_counter() - start_s
        content = await reader.read()
        writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return Answer(0, 0.0, time.perf_counter() - start_s, {}, {})
    status, *lines = told.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        found = json.loads(content)
    except ValueError:
        found = {}
    return Answer(int(status.split()[1]), first_s, time.perf_counter() - start_s, headers, found)


def form(sound: bytes, **fields: Any) -> tuple[bytes, str]:
    """The body of POST /v1/recognize, and its type."""
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    asked = part % (b"request", b"", json.dumps(fields).encode())
    return asked + part % (b"file", b'; filename="a.wav"', sound) + b"--x--\r\n", "multipart/form-data; boundary=x"


def wav(samples: np.ndarray, rate_hz: int, format: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format)
    return file.getvalue()


def stages(server: Server) -> dict[str, float]:
    """The seconds that the service has spent in each stage of requests so far."""
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    prefix = 'asr_stage_seconds_sum{stage="'
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(prefix)}


def save(command: str, model: str, result: Any) -> None:
    """Writes results/serve-COMMAND-MODEL.json."""
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "at": time.strftime("%Y-%m-%d %H:%M")}
    with atomic_write(_result(command, model)) as file:
        json.dump({"machine": machine, "result": result}, file, indent=1)


def saved(command: str, model: str) -> Any:
    path = _result(command, model)
    return json.loads(path.read_text())["result"] if path.exists() else None


def _result(command: str, model: str) -> Path:
    path = Path(model).resolve()
    name = path.parent.name if path.stem == "model" else path.stem
    return RESULTS / f"serve-{command}-{name}.json"


def percentile(scale: float, values: Sequence[float], p: float) -> float:
    return round(scale * float(np.percentile(values, p)), 1) if len(values) else float("nan")


async def stream_together(server: Server, recordings: Sequence[Recording], streams: int, **start: Any) -> Load:
    """`streams` clients, which begin within two seconds."""
    cpu_s, own_s, start_s = server.cpu_s(), time.process_time(), time.monotonic()
    starts = np.random.default_rng(streams).uniform(0, 2, streams)
    heard = await asyncio.gather(
        *(speak(server.port, recordings[n % len(recordings)], starts[n], **start) for n in range(streams))
    )
    seconds = time.monotonic() - start_s
    differing = sum(others(heard[first :: len(recordings)]) for first in range(len(recordings)))
    used, own = (server.cpu_s() - cpu_s) / seconds, (time.process_time() - own_s) / seconds
    return Load(streams, heard, used, own, server.rss_mb(), differing, seconds)


def others(heard: Sequence[Heard]) -> int:
    """How many streams of one recording got other words than most of those that were heard to the end.

    A stream that was cut off has no more than the first finals; these must be the same.
    """
    whole = Counter(tuple(h.texts) for h in heard if not h.error)
    usual = list(whole.most_common(1)[0][0]) if whole else max((h.texts for h in heard), key=len, default=[])
    return sum(h.texts != (usual[: len(h.texts)] if h.error else usual) for h in heard)
