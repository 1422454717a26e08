"""Reading an epoch of training from single files against reading it from tar files, on a disk and from a server of S3.

    python -m benchmarks.shards MANIFEST.jsonl [--copies 2] [--s3]

Every recording of the manifest is copied so many times, since a test corpus is small. One process reads and decodes all
utterances in the order of an epoch. Before each reading of files the kernel is told to forget them, so that they come
from the disk. `--s3` needs moto and s3fs (`make s3-test` installs them); the server is moto's, in a process of its own,
and counts the requests. It tells how many requests there are, not how long a real store takes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "shards.json"
SHARD_MB, PARTS, BATCH_S = 10, 2, 60.0


def copied(source: str, folder: Path, copies: int) -> Path:
    """The manifest of the copies."""
    from asr import manifest

    found = []
    for u in manifest.read(source):
        for number in range(copies):
            path = folder / f"files/{number}-{len(found)}{Path(u.audio or '').suffix}"
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(u.audio or "", path)
            found.append(replace(u, id=f"{u.id}-{number}", audio=str(path)))
    manifest.write(folder / "files.jsonl", found)
    return folder / "files.jsonl"


def forget(paths: Sequence[Path]) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def epoch_of(path: Path, epoch: int) -> dict[str, float]:
    """Reads all utterances of a manifest in the order of an epoch."""
    from asr import manifest, members
    from asr.config import Config
    from asr.data.dataset import Unreadable, Utterances

    cfg = Config()
    cfg.data.cache, cfg.optim.batch_s = False, BATCH_S
    utterances = manifest.read(path)
    dataset = Utterances(cfg, utterances, [[1]] * len(utterances))
    members.forget()
    before_s, before_cpu_s = time.monotonic(), time.process_time()
    batches = dataset.batches(1, epoch, PARTS)
    for batch in batches:
        for i in batch:
            if isinstance(item := dataset[i], Unreadable):
                raise SystemExit(item.reason)
    wall_s, cpu_s = time.monotonic() - before_s, time.process_time() - before_cpu_s
    longest = sum(len(batch) * max(dataset.durations_s[i] for i in batch) for batch in batches)
    return {"wall_s": wall_s, "cpu_s": cpu_s, "padded": longest / sum(dataset.durations_s)}


@contextmanager
def server() -> Iterator[Path]:
    """A server of S3 with a bucket, in the environment; yields its log of requests."""
    program = ("import sys; from moto.server import ThreadedMotoServer; s = ThreadedMotoServer(port=0); s.start(); "
               "print(s.get_host_and_port()[1], flush=True); sys.stdin.read()")  # fmt: skip
    with tempfile.NamedTemporaryFile(mode="w+", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdout and process.stdin
        port = next(line.strip() for line in process.stdout if line.strip().isdigit())  # moto writes a line of its own
        os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                       "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}  # fmt: skip
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        try:
            yield Path(log.name)
        finally:
            process.stdin.close()
            process.wait()


def requests(log: Path) -> int:
    return log.read_text().count(" HTTP/1.1")


def from_s3(folder: Path, files: Path) -> dict[str, dict[str, float]]:
    """An epoch from objects, and one from shards in the store."""
    from asr import manifest
    from asr.data.shards import pack

    results = {}
    with server() as log:
        import s3fs

        s3fs.S3FileSystem().put(f"{folder}/files", "bucket/files", recursive=True)
        objects = [replace(u, audio=f"s3://bucket/files/{Path(u.audio or '').name}") for u in manifest.read(files)]
        manifest.write(folder / "objects.jsonl", objects)
        pack(str(files), folder / "in_store", "s3://bucket/shards", SHARD_MB * 1e6, 1, None)
        for kind, name in (("S3 objects", "objects.jsonl"), ("S3 shards", "in_store/manifest.jsonl")):
            before = requests(log)
            results[kind] = epoch_of(folder / name, 0) | {"requests": requests(log) - before}
    return results


def measure(source: str, copies: int, with_s3: bool) -> dict[str, dict[str, float]]:
    from asr import manifest
    from asr.data.shards import pack

    results = {}
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        files = copied(source, folder, copies)
        before_s = time.monotonic()
        packed = pack(str(files), folder / "shards", None, SHARD_MB * 1e6, 1, None)
        seconds = sum(u.duration_s or 0.0 for u in manifest.read(files))
        results["packing"] = {"wall_s": time.monotonic() - before_s, "shards": packed.shards, "speech_s": seconds,
                              "utterances": packed.utterances}  # fmt: skip
        shards = folder / "shards/manifest.jsonl"
        for epoch in range(2):  # in turns, on a machine with other work; the fastest counts
            for kind, path, read in (("files", files, folder / "files"), ("shards", shards, folder / "shards")):
                forget([each for each in read.iterdir() if each.is_file()])
                found = epoch_of(path, epoch)
                results[kind] = min(results.get(kind, found), found, key=lambda each: each["wall_s"])
        if with_s3:
            results |= from_s3(folder, files)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    results = measure(given.manifest, given.copies, given.s3)
    for kind, found in results.items():
        print(f"{kind:12}", *(f"{name} {value:.4g}" for name, value in found.items()))
    rounded = {kind: {name: float(f"{value:.4g}") for name, value in found.items()} for kind, found in results.items()}
    RESULT.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
