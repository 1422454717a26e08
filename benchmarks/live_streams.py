"""Live streams of one service in real time: how many it holds, and how soon the final words come.

    python -m benchmarks.live_streams MODEL.asr RECORDING... [streams=1,4,16] [seconds=10]

Starts `asr serve`, and clients that send the recordings (digit strings, one after the other with a pause) in real time
in chunks of 0.1 s. A client asks for the final words when a recording has been silent for 0.2 s, as callers with a
voice activity detector of their own do. The latency of a final runs from the end of speech, so it holds these 0.2 s, as
the figures of hosted services do. Clients and service share the machine. Writes benchmarks/results/live_streams.json.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect

from asr.features import audio

RATE_HZ, CHUNK_S, HANG_OVER_S, PAUSE_S = 16000, 0.1, 0.2, 0.3
ROW = "{streams:7} {finals:6} {p50_ms:5.0f} {p95_ms:5.0f} {p99_ms:5.0f} {lag_s:5.2f} {cpu_per_s:6.3f}"
LOUD = 0.02  # of the recording's peak: below is silence


async def client(port: int, sounds: list[np.ndarray], seconds: float, seed: int, finals: list[float]) -> float:
    """Adds the latency of each final; returns the seconds that the service needs after the last sound."""
    chosen = random.Random(seed)
    await asyncio.sleep(chosen.uniform(0, CHUNK_S * 10))
    async with connect(f"ws://127.0.0.1:{port}/v1/stream") as ws:
        start = {"type": "start", "sample_rate_hz": RATE_HZ, "endpoint": None}
        await ws.send(json.dumps(start))
        await ws.recv()
        until, at = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < until:
            sound, finish = padded(chosen.choice(sounds))
            spoken_at = at + finish
            for first in range(0, len(sound), round(CHUNK_S * RATE_HZ)):
                chunk = sound[first : first + round(CHUNK_S * RATE_HZ)]
                at += len(chunk) / RATE_HZ
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                await ws.send(chunk.tobytes())
            await ws.send('{"type": "finalize"}')
            while json.loads(await ws.recv())["type"] != "final":
                pass
            finals.append(time.monotonic() - spoken_at)
            at = max(at, time.monotonic())
        begun = time.monotonic()
        await ws.send('{"type": "close"}')
        async for _ in ws:
            pass
        return time.monotonic() - begun


def padded(sound: np.ndarray) -> tuple[np.ndarray, float]:
    """A recording up to the hang-over behind its speech, and where its speech ends, in seconds."""
    loud = np.flatnonzero(np.abs(sound) > LOUD * np.abs(sound).max())
    end = int(loud[-1]) + 1
    silence = np.zeros(round(PAUSE_S * RATE_HZ), np.float32)
    rest = np.concatenate([sound[end:], np.zeros(RATE_HZ, np.float32)])[: round(HANG_OVER_S * RATE_HZ)]
    x = np.concatenate([silence, sound[:end], rest])
    return (x * 32767).astype("<i2"), PAUSE_S + end / RATE_HZ


async def measure(port: int, pid: int, sounds: list[np.ndarray], streams: int, seconds: float) -> dict[str, float]:
    finals: list[float] = []
    cpu_s = cpu_seconds(pid)
    rests = await asyncio.gather(*(client(port, sounds, seconds, n, finals) for n in range(streams)))
    used = (cpu_seconds(pid) - cpu_s) / (streams * seconds)
    p50, p95, p99 = (1000 * np.percentile(finals, [50, 95, 99])).round().tolist()
    return {"streams": streams, "finals": len(finals), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
            "lag_s": round(max(rests), 2), "cpu_per_s": round(used, 4)}  # fmt: skip


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    model, *given = sys.argv[1:]
    options = dict(arg.split("=") for arg in given if "=" in arg)
    sounds = [audio.load(path, sample_rate_hz=RATE_HZ) for path in given if "=" not in path]
    counts = [int(n) for n in options.get("streams", "1,4,16").split(",")]
    command = [sys.executable, "-m", "asr", "serve", model, "serve.port=0", f"serve.max_sessions={max(counts)}"]
    process = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    rows = []
    try:
        assert process.stdout
        line = next((line for line in process.stdout if "listening on" in line), "")
        port = int(line.split("http://")[1].split(";")[0].rpartition(":")[2])
        print(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; latencies in ms, lag in s, CPU s per s of audio"
        )
        print("streams finals   p50   p95   p99   lag    cpu")
        for streams in counts:
            row = asyncio.run(measure(port, process.pid, sounds, streams, float(options.get("seconds", "10"))))
            rows.append(row)
            print(ROW.format(**row))
    finally:
        process.kill()
        process.wait()
    results = Path(__file__).parent / "results" / "live_streams.json"
    results.write_text(json.dumps({"model": model, "load": os.getloadavg()[0], "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
