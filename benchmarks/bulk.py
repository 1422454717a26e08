"""What recognising and training on very many recordings costs besides the net: the rates behind docs/concepts/scale.md.

    python -m benchmarks.bulk MODEL.asr MANIFEST.jsonl [--lines 200000]

CPU seconds of one thread. The recordings are those of the manifest; lines of a manifest are made, as many as asked for.
The memory that workers share is that of two processes which have the model open and have recognised a recording.
"""

import argparse
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "bulk.json"


def cpu_s(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def memory_mb(pid: int | str = "self") -> dict[str, float]:
    """Resident memory (Rss), the process's share of it (Pss), and files that are mapped, by /proc/PID/smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(re.search(rf"^{name}:\s+(\d+) kB", text, re.M)[1]) / 1024 for name in ("Rss", "Pss")}  # type: ignore[index]


def mapped_mb(pid: int, path: str) -> tuple[float, float]:
    """(resident, share of this process) of a mapped file, in MB."""
    found, inside = {"Rss": 0.0, "Pss": 0.0}, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(path)
        elif inside and (name := line.partition(":")[0]) in found:
            found[name] += int(line.split()[1]) / 1024
    return found["Rss"], found["Pss"]


def measure_manifest(lines: int) -> dict[str, float]:
    """Reading a manifest, dividing its utterances into shares, and into the batches of an epoch."""
    from asr import manifest
    from asr.config import Config
    from asr.data.batching import epoch_batches
    from asr.recognizer import long

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.jsonl")
        with path.open("w") as file:
            for number in range(lines):
                line = {"id": f"speaker{number // 100}-{number}", "audio": f"audio/{number // 1000}/{number}.flac",
                        "duration_s": number * 7919 % 1500 / 100 + 1, "text": "words that were said"}  # fmt: skip
                file.write(json.dumps(line) + "\n")
        before = memory_mb()["Rss"]
        found: list = []
        read_s = cpu_s(lambda: found.extend(manifest.stream(path)))
        used_mb = memory_mb()["Rss"] - before
        recognizer = type("Known", (), {"cfg": Config()})
        divide_s = cpu_s(lambda: long.shares_of(recognizer, found))  # type: ignore[arg-type]
        order_s = cpu_s(lambda: epoch_batches([u.duration_s for u in found], 600.0, 1, 1))
        size = path.stat().st_size
    return {
        "manifest_lines_per_s": lines / read_s,
        "manifest_bytes_per_line": size / lines,
        "memory_kb_per_utterance": used_mb * 1024 / lines,
        "utterances_divided_per_s": lines / divide_s,
        "utterances_of_an_epoch_ordered_per_s": lines / order_s,
    }


def measure_recordings(model: str, path: str) -> dict[str, float]:
    """Headers, decoding, recognising and writing."""
    import asr
    from asr import manifest
    from asr.data.dataset import load_input
    from asr.features import audio
    from asr.recognizer import long

    recognizer = asr.load(model)
    utterances = manifest.read(path)
    files = sorted({u.audio for u in utterances if u.audio})
    headers_s = cpu_s(lambda: [audio.info(file) for file in files])
    decode_s = cpu_s(lambda: [load_input(recognizer.cfg, u) for u in utterances])
    found: list = []
    total_s = cpu_s(lambda: found.extend(long.transcribe_each(recognizer, utterances, threads=1)))
    heard_s = sum(hypothesis.duration_s for _, hypothesis in found)
    written = sum(len(json.dumps(hypothesis.as_dict(), ensure_ascii=False)) for _, hypothesis in found)
    return {
        "speech_s": heard_s,
        "headers_per_s": len(files) / headers_s,
        "bytes_per_speech_s": sum(os.path.getsize(file) for file in files) / heard_s,
        "decoding_cpu_s_per_s": decode_s / heard_s,
        "recognising_cpu_s_per_s": total_s / heard_s,
        "json_bytes_per_speech_s": written / heard_s,
    }


def measure_writing(files: int = 300) -> dict[str, float]:
    """Seconds of real time, since each file is synced: what `output=FOLDER/` does for each recording."""
    from asr.files import atomic_write

    with tempfile.TemporaryDirectory(dir=".") as folder:
        before = time.monotonic()
        for number in range(files):
            with atomic_write(Path(folder, f"{number}.json")) as file:
                file.write("x" * 2000)
        return {"files_written_per_s": files / (time.monotonic() - before)}


def hold(model: str, path: str, ready: Any, done: Any) -> None:
    import asr
    from asr import manifest
    from asr.recognizer import long

    recognizer = asr.load(model)
    list(long.transcribe_each(recognizer, manifest.read(path)[:20], threads=1))
    ready.put(os.getpid())
    done.wait()


def measure_sharing(model: str, path: str) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Queue(), context.Event()
    processes = [context.Process(target=hold, args=(model, path, ready, done)) for _ in range(2)]
    for process in processes:
        process.start()
    pids = [ready.get() for _ in processes]
    one = memory_mb(pids[0])
    resident, share = mapped_mb(pids[0], os.path.realpath(model))
    done.set()
    for process in processes:
        process.join()
    return {"worker_rss_mb": one["Rss"], "worker_pss_mb": one["Pss"], "model_rss_mb": resident, "model_pss_mb": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--lines", type=int, default=200_000)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    found = measure_manifest(given.lines) | measure_recordings(given.model, given.manifest)
    found |= measure_writing() | measure_sharing(given.model, given.manifest)
    for name, value in found.items():
        print(f"{name:28} {value:12.4g}")
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    results[Path(given.model).parent.name] = {name: float(f"{value:.4g}") for name, value in found.items()}
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
