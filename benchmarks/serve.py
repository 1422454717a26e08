"""The service from outside, over real sockets: `asr serve` in a process of its own, clients in this one.

    python -m benchmarks.serve streams MODEL.asr TEST.jsonl [seconds=30] [counts=1,8,16] [partials=true]
    python -m benchmarks.serve overhead MODEL.asr TEST.jsonl [requests=300]
    python -m benchmarks.serve words MODEL.asr TEST.jsonl [entries=1000] [lists=20]
    python -m benchmarks.serve soak MODEL.asr TEST.jsonl minutes=30 [streams=N]
    python -m benchmarks.serve overload MODEL.asr TEST.jsonl [streams=N] [seconds=20]
    python -m benchmarks.serve faults MODEL.asr TEST.jsonl [only=NAME]
    python -m benchmarks.serve modes MODEL.asr TEST.jsonl

TEST.jsonl is a manifest of utterances to speak. `streams` finds the largest number without a backlog; `soak` and
`overload` take it from there unless they are given `streams=`. Each prints a table and writes
benchmarks/results/serve-COMMAND-MODEL.json; `streams` and `soak` do so while they run. The clients share the machine
with the service; their own share of it is a column. benchmarks/serve_peers.py has the comparison with other servers.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import asr
from asr import manifest
from benchmarks import serve_faults
from benchmarks.serve_load import (
    DISTINCT,
    Heard,
    Recording,
    form,
    percentile,
    post,
    recording,
    save,
    saved,
    serving,
    speak,
    stages,
    stream_together,
    utterances,
    wav,
)  # fmt: skip

MOST_STREAMS = 512
LATEST_MS = 1000  # of finals and of words in a stream that is held
WARM_UP = 0.2  # of a soak
STREAMS_ROW = (
    "{streams:7} {finals:6} {to_finals_p50:6.0f} {to_finals_p95:6.0f} {to_finals_p99:6.0f} "
    "{to_words_p50:6.0f} {to_words_p95:6.0f} {to_words_p99:6.0f} {from_speech_p50:7.0f} {lag_s:5.2f} "
    "{cores:5.2f} {cpu_per_audio_s:6.4f} {own_cores:5.2f} {rss_mb:5} {errors:6} {differing:6}"
)
STREAMS_HEAD = (
    "streams finals  finals' p50/95/99 ms   words' p50/95/99 ms  speech   lag cores  cpu/s  own   rss errors differ"
)


def recordings(path: str, rate_hz: int, seconds: float) -> list[Recording]:
    sounds = [sound for _, sound in utterances(path, rate_hz, 200)]
    return [recording(sounds, rate_hz, seconds, seed) for seed in range(DISTINCT)]


def rate_of(model: str) -> int:
    return asr.load(model).cfg.features.sample_rate_hz


def streams(model: str, test: str, seconds: str = "30", counts: str = "", partials: str = "true") -> None:
    """The largest number of streams without a backlog, and latencies at half and at full load."""
    sounds = recordings(test, rate_of(model), float(seconds))
    rows: dict[int, dict[str, Any]] = {}
    start: dict[str, Any] = {"partials": partials == "true"}
    name = "streams" if start["partials"] else "streams-finals"
    with serving(model, f"max_sessions={4 * MOST_STREAMS}") as server:
        asyncio.run(stream_together(server, [sounds[0]], 1))  # warm
        print(STREAMS_HEAD)

        def holds(count: int) -> bool:
            if count not in rows:
                row = rows[count] = asyncio.run(stream_together(server, sounds, count, **start)).row()
                print(STREAMS_ROW.format(**row), flush=True)
                held = [n for n in rows if is_held(rows[n])]
                save(name, model, {"capacity": max(held, default=0), "rows": [rows[n] for n in sorted(rows)]})
            return is_held(rows[count])

        if counts:
            for count in map(int, counts.split(",")):
                holds(count)
        else:
            holds(max(1, largest(holds) // 2))
    print(f"capacity {saved(name, model)['capacity']} streams")


def is_held(row: dict[str, Any]) -> bool:
    latest = [row[name] for name in ("to_finals_p95", "to_words_p95") if row[name] == row[name]]
    return not row["errors"] and row["lag_s"] < LATEST_MS / 1000 and max(latest, default=0) < LATEST_MS


def largest(holds: Callable[[int], bool]) -> int:
    """The largest number that holds, to an eighth."""
    high = 1
    while high < MOST_STREAMS and holds(high):
        high *= 2
    low = high // 2
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def overhead(model: str, test: str, requests: str = "300") -> None:
    """The time of requests beyond that of the acoustic model and the search, one at a time."""
    rate_hz, rows = rate_of(model), []
    whole = np.concatenate([sound for _, sound in utterances(test, rate_hz, 20)])
    with serving(model) as server:
        print("audio  answer p50/p99 ms  overhead p50/p95/p99 ms  of which decode p50/p99 ms")
        for seconds in (0.5, 10.0):
            body, kind = form(wav(np.resize(whole, round(seconds * rate_hz)), rate_hz))
            walls, own, decode = [], [], []
            for number in range(int(requests) + 10):
                before = stages(server)
                answer = asyncio.run(post(server.port, "/v1/recognize", body, kind))
                after = stages(server)
                assert answer.status == 200, answer
                if number >= 10:
                    spent = {name: after[name] - before.get(name, 0.0) for name in after}
                    walls.append(answer.seconds)
                    own.append(answer.seconds - spent["model"] - spent["search"])
                    decode.append(spent["decode"])
            row = {"audio_s": seconds, "requests": len(own)}
            for name, found in (("answer", walls), ("overhead", own), ("decode", decode)):
                row |= {f"{name}_p{p}": percentile(1000, found, p) for p in (50, 95, 99)}
            rows.append(row)
            print("{audio_s:5.1f}  {answer_p50:7.1f} {answer_p99:7.1f}  {overhead_p50:7.1f} {overhead_p95:7.1f} "
                  "{overhead_p99:7.1f}  {decode_p50:7.1f} {decode_p99:7.1f}".format(**row), flush=True)  # fmt: skip
    save("overhead", model, rows)


def words(model: str, test: str, entries: str = "1000", lists: str = "20") -> None:
    """Lists that requests bring: the time to compile one, and to find it compiled."""
    rate_hz, rng = rate_of(model), np.random.default_rng(1)
    texts = [text for text, _ in utterances(test, rate_hz)]
    known = sorted({word for text in texts for word in text.split()})
    sound = wav(utterances(test, rate_hz, 1)[0][1], rate_hz)
    rows = []
    with serving(model) as server:
        print("request  prepare p50/p95/max ms  answer p50/p95 ms  cpu ms")
        chosen = [entries_of(known, int(entries), rng) for _ in range(int(lists))]
        found: dict[str, list[tuple[float, float]]] = {"first": [], "cached": []}
        cpu: dict[str, float] = {"first": 0.0, "cached": 0.0}
        for each in chosen:
            body, kind = form(sound, words=each)
            for name in found:
                before, cpu_s = stages(server)["prepare"] if stages(server) else 0.0, server.cpu_s()
                answer = asyncio.run(post(server.port, "/v1/recognize", body, kind))
                assert answer.status == 200, answer
                cpu[name] += server.cpu_s() - cpu_s
                found[name].append((stages(server)["prepare"] - before, answer.seconds))
        for name, times in found.items():
            prepare, walls = zip(*times, strict=True)
            row = {"request": name, "entries": int(entries), "lists": len(times)}
            row |= {f"prepare_p{p}": percentile(1000, prepare, p) for p in (50, 95, 100)}
            row |= {f"answer_p{p}": percentile(1000, walls, p) for p in (50, 95)}
            row["cpu_ms"] = round(1000 * cpu[name] / len(times), 1)
            rows.append(row)
            print("{request:7}  {prepare_p50:6.1f} {prepare_p95:6.1f} {prepare_p100:6.1f}  {answer_p50:6.1f} "
                  "{answer_p95:6.1f}  {cpu_ms:6.1f}".format(**row))  # fmt: skip
    save("words", model, rows)


def entries_of(known: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Distinct entries of one to four of the known words, drawn at random."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(known[int(n)] for n in rng.integers(len(known), size=rng.integers(1, 5)))] = None
    return list(found)


def soak(model: str, test: str, minutes: str, streams: str = "") -> None:
    """Streams at 80 % of the capacity for a long time. Ctrl-C ends it early with a report."""
    count = int(streams or max(1, round(0.8 * capacity(model))))
    sounds = recordings(test, rate_of(model), min(60.0, 30 * float(minutes)))
    samples: list[tuple[float, float]] = []  # minute, MB
    heard: list[Heard] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(model, f"max_sessions={4 * count}") as server:
        until_s = time.monotonic() + 60 * float(minutes)

        async def client(number: int) -> None:
            await asyncio.sleep(number * 2.0 / count)
            while time.monotonic() < until_s:
                heard.append(await speak(server.port, sounds[number % DISTINCT]))

        async def watch() -> None:
            start_s, cpu_s = time.monotonic(), server.cpu_s()
            while time.monotonic() < until_s and server.is_up:
                await asyncio.sleep(min(10.0, max(0.1, until_s - time.monotonic())))
                at_s = time.monotonic() - start_s
                samples.append((round(at_s / 60, 2), round(server.rss_mb(), 1)))
                row = soaked(count, samples, heard, (server.cpu_s() - cpu_s) / at_s)
                save("soak", model, {**row, "samples": samples})
                print(f"{at_s / 60:5.1f} min {samples[-1][1]:7.1f} MB, {len(heard)} streams ended, "
                      f"{row['errors']} errors", flush=True)  # fmt: skip

        async def run() -> None:
            await asyncio.gather(watch(), *(client(number) for number in range(count)))

        try:
            asyncio.run(run())
        except KeyboardInterrupt:
            print("ended early")
        print({name: value for name, value in (saved("soak", model) or {}).items() if name != "samples"})


def soaked(count: int, samples: list[tuple[float, float]], heard: list[Heard], cores: float) -> dict[str, Any]:
    late = samples[int(WARM_UP * len(samples)) :]
    at, mb = np.array(late).T
    finals = [s for each in heard for s in each.to_finals]
    texts = {tuple(each.texts) for each in heard if not each.error}
    return {
        "streams": count, "minutes": samples[-1][0], "cores": round(cores, 2), "streams_ended": len(heard),
        "errors": sum(each.error is not None for each in heard), "distinct_texts": len(texts),
        "finals": len(finals), **{f"to_finals_p{p}": percentile(1000, finals, p) for p in (50, 95)},
        "rss_mb": float(mb[-1]), "rss_max_by_min": round(float(mb.max() / mb.min()), 4),
        "mb_per_hour": round(60 * float(np.polyfit(at, mb, 1)[0]), 2) if len(late) > 1 else 0.0,
    }  # fmt: skip


def capacity(model: str) -> int:
    found = saved("streams", model)
    if not found or not found["capacity"]:
        raise SystemExit("the number of streams is not known: run `streams` first, or give streams=N")
    return int(found["capacity"])


def overload(model: str, test: str, streams: str = "", seconds: str = "20") -> None:
    """Three times the capacity."""
    count = int(streams or capacity(model))
    sounds = recordings(test, rate_of(model), float(seconds))
    text, clip = utterances(test, rate_of(model), 1)[0]
    result = serve_faults.overload(model, sounds, text, wav(clip, rate_of(model)), count, float(seconds))
    for name, row in result.items():
        print(name, row)
    save("overload", model, result)


def faults(model: str, test: str, only: str = "") -> None:
    """What clients see while parts of the service fail."""
    rate_hz = rate_of(model)
    text, clip = utterances(test, rate_hz, 1)[0]
    rows = serve_faults.faults(model, recordings(test, rate_hz, 10.0)[0], text, clip, rate_hz, only)
    save("faults", model, rows)


def modes(model: str, test: str) -> None:
    """Word mode over HTTP against the same calls in Python: all words of the manifest are the list."""
    listed = list(manifest.read(test))
    entries = sorted({u.transcript for u in listed})
    recognizer = asr.load(model)
    listing, same, right = recognizer.with_list(entries), 0, {"api": 0, "python": 0}
    with serving(model) as server:
        for u in listed:
            with open(u.audio, "rb") as file:
                body, kind = form(file.read(), mode="word", words=entries)
            answer = asyncio.run(post(server.port, "/v1/recognize", body, kind))
            assert answer.status == 200, answer
            here = listing.transcribe(u.audio)
            theirs = [(w["word"], w["start_s"], w["end_s"], w["confidence"]) for w in answer.body["words"]]
            same += theirs == [(w.word, w.start_s, w.end_s, w.confidence) for w in here.words]
            right["api"] += answer.body["text"] == u.transcript
            right["python"] += here.text == u.transcript
    result = {"clips": len(listed), "entries": len(entries), "same": same, **right}
    print(result)
    save("modes", model, result)


COMMANDS: dict[str, Callable[..., None]] = {
    "streams": streams, "overhead": overhead, "words": words, "soak": soak, "overload": overload, "faults": faults,
    "modes": modes,
}  # fmt: skip


def main() -> None:
    if len(sys.argv) < 4 or sys.argv[1] not in COMMANDS:
        raise SystemExit(__doc__)
    command, model, test, *options = sys.argv[1:]
    COMMANDS[command](model, test, **dict(option.split("=", 1) for option in options))


if __name__ == "__main__":
    main()
