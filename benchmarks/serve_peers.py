"""Our service beside others on the same audio: utterances in real time, and how soon each one's words come.

    python -m benchmarks.serve_peers MODEL.asr TEST.jsonl [streams=1,4,8] [seconds=30] [rate=16000] [PEER=FOLDER] ...

| PEER | FOLDER | serves |
|---|---|---|
| sherpa | `asr export`, sherpa-onnx | our acoustic model and graph, decoded at the end of an utterance |
| vosk | a model of Vosk | its streaming recogniser |
| whisper | a model of faster-whisper, int8 | beam 5, decoded at the end of an utterance |

`ours` has partial results, `ours-finals` none. Each peer is a plain FastAPI app with a WebSocket and two threads, whose
packages come from PYTHONPATH. A client sends chunks of 0.1 s and asks for the words 0.2 s behind the end of speech; the
latency runs from there. A number of streams is held if the 95th percentile is below a second. Writes
benchmarks/results/serve-peers-MODEL.json.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
HANG_OVER_S, CHUNK_S, PAUSE_S = 0.2, 0.1, 0.5
HEAD = "server       streams finals   p50   p95   p99 ms  cpu/s  held"
ROW = "{server:12} {streams:7} {finals:6} {p50:5.0f} {p95:5.0f} {p99:5.0f}   {cpu_per_audio_s:7.4f}  {held}"

Accept = Callable[[bytes], None]
Finish = Callable[[], str]


def sherpa(folder: str, rate_hz: int) -> Callable[[], tuple[Accept, Finish]]:
    from sherpa_onnx.lib import _sherpa_onnx as core

    words = dict(line.split()[::-1] for line in (Path(folder) / "words.txt").read_text("utf-8").splitlines())
    kinds = core.OfflineModelConfig(
        omnilingual=core.OfflineOmnilingualAsrCtcModelConfig(model=f"{folder}/model.onnx"),
        tokens=f"{folder}/tokens.txt",
        num_threads=1,
    )
    graph = core.OfflineCtcFstDecoderConfig(graph=f"{folder}/HLG.fst", max_active=3000)
    recognizer = core.OfflineRecognizer(core.OfflineRecognizerConfig(model_config=kinds, ctc_fst_decoder_config=graph))

    def begin() -> tuple[Accept, Finish]:
        parts: list[bytes] = []

        def finish() -> str:
            stream = recognizer.create_stream()
            stream.accept_waveform(rate_hz, samples_of(parts))
            recognizer.decode_stream(stream)
            return " ".join(words[str(word)] for word in stream.result.words)

        return parts.append, finish

    return begin


def vosk(folder: str, rate_hz: int) -> Callable[[], tuple[Accept, Finish]]:
    from vosk import KaldiRecognizer, Model, SetLogLevel

    SetLogLevel(-1)
    model = Model(folder)

    def begin() -> tuple[Accept, Finish]:
        recognizer = KaldiRecognizer(model, rate_hz)

        def accept(pcm: bytes) -> None:
            recognizer.AcceptWaveform(pcm) or recognizer.PartialResult()

        return accept, lambda: json.loads(recognizer.FinalResult())["text"]

    return begin


def whisper(folder: str, rate_hz: int) -> Callable[[], tuple[Accept, Finish]]:
    import soxr
    from faster_whisper import WhisperModel

    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1, num_workers=THREADS)

    def begin() -> tuple[Accept, Finish]:
        parts: list[bytes] = []

        def finish() -> str:
            samples = soxr.resample(samples_of(parts), rate_hz, 16000)
            return " ".join(part.text for part in model.transcribe(samples, language="en", beam_size=5)[0])

        return parts.append, finish

    return begin


PEERS = {"sherpa": sherpa, "vosk": vosk, "whisper": whisper}


def samples_of(parts: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(parts), "<i2").astype(np.float32) / 32768


def serve(kind: str, folder: str, rate_hz: str) -> None:
    """A peer, on a free port, with the messages of our /v1/stream that the clients here send."""
    import uvicorn
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    begin, pool, app = PEERS[kind](folder, int(rate_hz)), ThreadPoolExecutor(THREADS), FastAPI()

    async def stream(ws: WebSocket) -> None:
        work = partial(asyncio.get_running_loop().run_in_executor, pool)
        await ws.accept()
        accept, finish = await work(begin)
        try:
            while True:
                message = await ws.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("bytes"):
                    await work(accept, message["bytes"])
                elif "finalize" in message["text"]:
                    await ws.send_json({"type": "final", "text": await work(finish)})
                    accept, finish = await work(begin)
                else:
                    await ws.send_json({"type": "started"})
        except WebSocketDisconnect:
            pass

    app.add_api_websocket_route("/v1/stream", stream)

    class Told(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            print(f"listening on http://127.0.0.1:{port}; a peer", flush=True)

    Told(uvicorn.Config(app, port=0, log_level="warning")).run()


async def speak(port: int, sounds: Sequence[bytes], rate_hz: int, seconds: float, seed: int, partials: bool) -> Any:
    """The latencies of the finals of one stream, and its seconds of sound."""
    from websockets.asyncio.client import connect

    rng, latencies, sent_s = np.random.default_rng(seed), [], 0.0
    size = 2 * round(CHUNK_S * rate_hz)
    await asyncio.sleep(rng.uniform(0, 2))
    until_s = time.monotonic() + seconds
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", ping_interval=None, open_timeout=60) as ws:
        start = {"type": "start", "sample_rate_hz": rate_hz, "endpoint": None, "partials": partials}
        await ws.send(json.dumps(start))
        await ws.recv()
        while time.monotonic() < until_s:
            sound, began_s = sounds[int(rng.integers(len(sounds)))], time.monotonic()
            for number in range(0, len(sound), size):
                await asyncio.sleep(max(0.0, began_s + (number + size) / 2 / rate_hz - time.monotonic()))
                await ws.send(sound[number : number + size])
            due_s = began_s + len(sound) / 2 / rate_hz
            await ws.send('{"type": "finalize"}')
            while json.loads(await ws.recv())["type"] != "final":
                pass
            latencies.append(time.monotonic() - due_s)
            sent_s += len(sound) / 2 / rate_hz
            await asyncio.sleep(PAUSE_S)
    return latencies, sent_s


def measure(server: Any, sounds: Sequence[bytes], rate_hz: int, streams: int, seconds: float, partials: bool) -> Any:
    async def run() -> Any:
        clients = (speak(server.port, sounds, rate_hz, seconds, n, partials) for n in range(streams))
        return await asyncio.gather(*clients)

    cpu_s = server.cpu_s()
    found = asyncio.run(run())
    latencies = [1000 * s for each, _ in found for s in each]
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).round(1).tolist()
    used = (server.cpu_s() - cpu_s) / sum(sent_s for _, sent_s in found)
    return {"streams": streams, "finals": len(latencies), "p50": p50, "p95": p95, "p99": p99,
            "cpu_per_audio_s": round(used, 4), "held": p95 < 1000}  # fmt: skip


def padded(sound: np.ndarray, rate_hz: int) -> bytes:
    """Pcm up to the hang-over behind the speech."""
    from benchmarks.serve_load import LOUD

    end = int(np.flatnonzero(np.abs(sound) > LOUD * np.abs(sound).max())[-1]) + 1
    whole = np.concatenate([sound[:end], np.zeros(round(HANG_OVER_S * rate_hz), np.float32)])
    return (whole * 32767).astype("<i2").tobytes()


def main(model: str, test: str, *given: str) -> None:
    from benchmarks.serve_load import Server, save, utterances

    options = dict(option.split("=", 1) for option in given)
    rate_hz, rows = int(options.get("rate", "16000")), []
    sounds = [padded(sound, rate_hz) for _, sound in utterances(test, rate_hz, 100)]
    print(HEAD)
    for name in ("ours", "ours-finals", *(name for name in PEERS if name in options)):
        command = None
        if name in PEERS:
            command = [sys.executable, "-m", "benchmarks.serve_peers", "serve", name, options[name], str(rate_hz)]
        server = Server(model, ["max_sessions=2048"], command=command)
        try:
            measure(server, sounds, rate_hz, 1, 2.0, True)  # warm
            for streams in map(int, options.get("streams", "1,4,8").split(",")):
                seconds = float(options.get("seconds", "30"))
                rows.append(
                    {"server": name, **measure(server, sounds, rate_hz, streams, seconds, name != "ours-finals")}
                )
                print(ROW.format(**rows[-1]), flush=True)
                save("peers", model, rows)
                if not rows[-1]["held"]:
                    break
        finally:
            server.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    elif len(sys.argv) > 2:
        main(*sys.argv[1:])
    else:
        raise SystemExit(__doc__)
