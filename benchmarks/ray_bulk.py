"""Bulk transcription by the workers of a Ray against this process alone: seconds of real time, and equal bytes.

    python -m benchmarks.ray_bulk MODEL.asr MANIFEST.jsonl [--utterances 50] [--workers 2] [--share-s 100]

Needs the extra `ray`. Three runs, each a process of its own with one thread per worker: without Ray; with it; with it
while one worker is killed with SIGKILL after the first share. Of each: the seconds from the start of the command to its
end; of those with Ray also how long the Ray takes to start, and how long from then until every worker has the model
open. Shares are shorter than the ten minutes of `asr transcribe`, since the corpus is small.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "ray_bulk.json"
ALONE, RAY, KILLED = "this process alone", "ray", "ray, one worker killed"


def workers(model: str) -> list[int]:
    """The processes of Ray's workers that have the model mapped."""
    name, found = os.path.realpath(model), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::") and name in (folder / "maps").read_text():
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return sorted(found)


def run(given: argparse.Namespace) -> None:
    """One run, in this process. Prints its times as JSON."""
    from asr.cli import main as cli
    from asr.cli import ray_workers
    from asr.recognizer import long

    long.SHARE_S = given.share_s
    times, connect = {}, ray_workers._connect

    def connect_timed(*args: object) -> None:
        before = time.monotonic()
        connect(*args)  # type: ignore[arg-type]
        times["start_of_ray_s"] = time.monotonic() - before
        threading.Thread(target=watch, args=[time.monotonic()], daemon=True).start()

    def watch(connected: float) -> None:
        while len(found := workers(given.model)) < given.workers:
            time.sleep(0.1)
        times["all_workers_open_s"] = time.monotonic() - connected
        partial = Path(f"{given.output}.partial")
        while given.run == KILLED:
            if partial.exists() and partial.read_bytes().count(b"\n") > 1:  # its first line is no result
                os.kill(found[0], signal.SIGKILL)
                times["killed_s"] = time.monotonic() - begin
                return
            time.sleep(0.05)

    ray_workers._connect = connect_timed
    words = ["transcribe", given.model, given.manifest, f"output={given.output}", "threads=1"]
    begin = time.monotonic()
    code = cli.main([*words, *([] if given.run == ALONE else ["launcher=ray", f"workers={given.workers}"])])
    times["wall_s"] = time.monotonic() - begin
    if code:
        sys.exit(code)
    print(json.dumps({name: round(value, 1) for name, value in times.items()}))


def measured(kind: str, given: argparse.Namespace, manifest: Path, output: Path) -> dict[str, float | str]:
    words = [sys.executable, "-m", "benchmarks.ray_bulk", given.model, str(manifest), "--run", kind]
    words += ["--output", str(output), "--workers", str(given.workers), "--share-s", str(given.share_s)]
    load = os.getloadavg()[0]
    said = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    return {"load": round(load, 1), **json.loads(said.stdout.splitlines()[-1]), "sha256": digest[:16]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--utterances", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--share-s", type=float, default=100.0)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given)
        return
    from asr import manifest

    with tempfile.TemporaryDirectory() as folder:
        some = manifest.read(given.manifest)[: given.utterances]
        manifest.write(Path(folder, "some.jsonl"), some)
        results = {}
        for kind in ALONE, RAY, KILLED:
            results[kind] = measured(kind, given, Path(folder, "some.jsonl"), Path(folder, f"{len(results)}.jsonl"))
            print(f"{kind:24} {json.dumps(results[kind])}", flush=True)
    settings = {"utterances": len(some), "speech_s": round(sum(u.duration_s or 0 for u in some), 1),
                "workers": given.workers, "share_s": given.share_s, "date": time.strftime("%Y-%m-%d")}  # fmt: skip
    RESULT.write_text(json.dumps(settings | results, indent=1) + "\n")
    if len({found["sha256"] for found in results.values()}) > 1:
        sys.exit("the outputs differ")


if __name__ == "__main__":
    main()
