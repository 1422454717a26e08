"""The log of requests: what it costs a request, a million rows, and the drift test's alarms.

    python -m benchmarks.request_log [requests=2000] [rows=1000000] [chains=400]

`requests`: of 3 s each, put into the log while its thread writes. `rows`: of a log that `asr flywheel report` and
`select` read. `chains`: simulated series of daily figures. 0 leaves a part out. Figures are printed and written to
benchmarks/results/request_log.json.
"""

import json
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import true

from asr.flywheel.drift import alarms, threshold
from asr.flywheel.log import DATABASE, RequestLog
from asr.flywheel.request import REQUESTS, TEXTS, Heard, rows_of
from asr.flywheel.select import choose
from asr.flywheel.watch import watch
from asr.flywheel.writer import Writer
from asr.hypothesis import Hypothesis, Word

RATE_HZ = 16000
VOCABULARY = [f"word{number}" for number in range(5000)]


def heard(number: int, rng: random.Random, samples: np.ndarray | None, day: float = 0.0) -> Heard:
    words = [Word(rng.choice(VOCABULARY), 0.3 * n, 0.3 * n + 0.2, rng.betavariate(8, 1)) for n in range(8)]
    found = Hypothesis("", " ".join(word.word for word in words), words, 0.0, rng.uniform(2, 6), True)
    at_s = 1.77e9 + 86400 * day
    return Heard(f"asr-{number:032x}", at_s, "1", "app", rng.choice(["dictation", "word"]), "en", "m.asr@1f", "0.1.0",
                 found, (), rng.gauss(-25, 5), rng.uniform(0.1, 0.3), samples, RATE_HZ)  # fmt: skip


def work() -> int:
    """A few milliseconds of Python, as a request has: they wait where the thread of the log holds the interpreter."""
    return sum(number * number for number in range(30_000))


def overhead(requests: int) -> dict[str, Any]:
    """Milliseconds of `put` in the path of a request, while the thread writes those before it, and of `work` after
    each, which is compared with the same work while nothing is logged, in turn."""
    rng, noise = random.Random(1), np.random.default_rng(1)
    samples = [(0.1 * noise.standard_normal(3 * RATE_HZ)).astype(np.float32) for _ in range(20)]
    items = [heard(number, rng, samples[number % 20]) for number in range(requests)]
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(RequestLog(folder, slice_rate=0.01), 90, 1e12, most_waiting_bytes=1 << 40)
        times: dict[str, list[float]] = {"put": [], "work_logged": [], "work_alone": []}

        def timed(name: str, run: Callable[[], Any]) -> None:
            start_s = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start_s))

        for first in range(0, requests, 20):
            for item in items[first : first + 20]:
                timed("put", partial(writer.put, item))
                timed("work_logged", work)
                time.sleep(0.005)
            while writer.waiting:
                time.sleep(0.01)
            for _ in range(20):
                timed("work_alone", work)
                time.sleep(0.005)
        cpu_s = time.process_time()
        for number in range(200):
            writer.put(heard(requests + number, rng, samples[number % 20]))
        while writer.waiting:
            time.sleep(0.01)
        cpu_ms = 1000 * (time.process_time() - cpu_s) / 200
        writer.close()
    row = {"requests": requests, "cpu_ms": cpu_ms, "dropped": writer.dropped.total()}
    for name, found in times.items():
        row |= {f"{name}_p50_ms": float(np.percentile(found, 50)), f"{name}_p99_ms": float(np.percentile(found, 99))}
        print(f"{name}: p50 {row[f'{name}_p50_ms']:.3f} ms, p99 {row[f'{name}_p99_ms']:.3f} ms", flush=True)
    print(f"CPU of a request in the thread: {cpu_ms:.2f} ms", flush=True)
    return row


def million(rows: int) -> dict[str, Any]:
    """Seconds of the figures by day and of the selection of an hour."""
    rng = random.Random(2)
    with tempfile.TemporaryDirectory() as folder:
        log = RequestLog(folder, slice_rate=0.01)
        connection = sqlite3.connect(Path(folder) / DATABASE)
        kinds = [rows_of(heard(n, rng, None), 0.01) for n in range(2000)]
        for first in range(0, rows, 10_000):
            batch = []
            for number in range(first, min(rows, first + 10_000)):
                row, texts = kinds[number % len(kinds)]
                id, day = f"asr-{number:032x}", number * 90 // rows
                at_s = 1.77e9 + 86400 * day
                batch.append((row | {
                    "id": id, "time_s": at_s, "day": time.strftime("%Y-%m-%d", time.gmtime(at_s)),
                    "sound": f"{id}.flac", "sound_bytes": 50_000, "snr_db": rng.gauss(20, 5),
                    "doubt": rng.expovariate(1), "confidence": rng.betavariate(8, 1), "in_slice": rng.random() < 0.01,
                    "draw": rng.random(),
                }, texts | {"id": id}))  # fmt: skip
            for table, values in ((REQUESTS, [row for row, _ in batch]), (TEXTS, [texts for _, texts in batch])):
                names = [column.name for column in table.columns]
                query = f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(names))})"
                connection.executemany(query, [[row[name] for name in names] for row in values])
            connection.commit()
        connection.close()
        size = sum(path.stat().st_size for path in Path(folder).glob(f"{DATABASE}*"))
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        watched = watch(log, true(), 20, 0.2)
        report_s, report_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        found = choose(log, true(), 60.0, 0.2, set(VOCABULARY[:4000]))
        select_s, select_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        log.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} rows, {size / 1e9:.2f} GB: figures of {len(watched.counts)} days in {report_s:.1f} s "
          f"({report_cpu_s:.1f} of CPU), {len(found.chosen)} requests chosen in {select_s:.1f} s ({select_cpu_s:.1f} "
          f"of CPU), peak {peak:.0f} MB", flush=True)  # fmt: skip
    return {"rows": rows, "bytes": size, "report_s": report_s, "report_cpu_s": report_cpu_s, "select_s": select_s,
            "select_cpu_s": select_cpu_s, "peak_mb": peak}  # fmt: skip


def drift(chains: int, days: int = 180, change: int = 60) -> list[dict[str, Any]]:
    """False alarms in 30 days, and the days from a shift to its alarm, of one figure whose threshold is that of six."""
    limit = threshold(0.2, 6)
    rows = []
    for name, shift, weekly, memory in (
        ("independent days", 0, 0, 0), ("weekends 2 sd higher", 0, 1, 0),
        ("correlation 0.2 with the day before", 0, 0, 0.2), ("correlation 0.3 with the day before", 0, 0, 0.3),
        ("correlation 0.5 with the day before", 0, 0, 0.5), ("shift of 1 sd, correlation 0.3", 1, 0, 0.3),
        ("shift of 2 sd, correlation 0.3", 2, 0, 0.3),
        ("shift of 1 sd", 1, 0, 0), ("shift of 2 sd", 2, 0, 0), ("shift of 3 sd", 3, 0, 0), ("shift of 5 sd", 5, 0, 0),
    ):  # fmt: skip
        rng = random.Random(3)
        false, delays, missed = 0, [], 0
        for _ in range(chains):
            values, noise = [], 0.0
            for day in range(days):
                noise = memory * noise + (1 - memory**2) ** 0.5 * rng.gauss(0, 1)
                values.append(noise + shift * (day >= change) + weekly * (day % 7 in (5, 6)) * 2)
            found = alarms(values, [0.0] * days, limit)
            before = [alarm for alarm in found if alarm.day < change or not shift]
            false += len(before)
            if shift:
                after = [alarm.day - change for alarm in found if alarm.day >= change]
                missed += not after or after[0] > 30
                delays += after[:1]
        counted_days = chains * (change if shift else days)
        row = {"case": name, "false_alarms_of_six": 6 * 30 * false / counted_days, "missed_in_30_days": missed / chains,
               "delay_days": float(np.median(delays)) if delays else None}  # fmt: skip
        rows.append(row)
        told = (
            f", found after {row['delay_days']:g} days (median), {row['missed_in_30_days']:.1%} not within 30"
            if shift
            else ""
        )
        print(f"{name}: {row['false_alarms_of_six']:.2f} false alarms in 30 days of six figures{told}", flush=True)
    return rows


def main() -> None:
    given = dict(word.split("=") for word in sys.argv[1:])
    path = Path(__file__).parent / "results" / "request_log.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    defaults = {"requests": 2000, "rows": 1_000_000, "chains": 400}
    for option, measure in (("requests", overhead), ("rows", million), ("chains", drift)):
        if size := int(given.get(option, defaults[option])):
            result[measure.__name__] = measure(size)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
