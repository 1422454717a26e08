"""Estimation of language models and reading of ARPA files: ours beside lmplz.

    python benchmarks/lm.py LMPLZ TEXT:ORDER[:PRUNE] ...

LMPLZ is the program of kenlm (0.3.0); TEXT holds a sentence a line; PRUNE is as 0,1,2. For each job both estimate from
the same text, lmplz with -S 2G, ours through `asr lm train` as it comes, each in a process of its own: CPU and wall
seconds, peak memory. Then the ARPA files are compared, and ours is read back. Writes benchmarks/results/lm.json.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from asr.files import atomic_write
from asr.lm import arpa
from asr.lm.model import NgramModel

RESULT = Path(__file__).parent / "results/lm.json"
READ = "import sys; from asr.lm import arpa; print(sum(len(n.ids) for n in arpa.read(sys.argv[1]).orders))"


# A process of its own starts what is measured: a process's peak memory begins with that of the one that started it.
MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def measure(command: list[str]) -> dict[str, float]:
    """What a process takes."""
    result = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{command[0]} failed: {result.stderr[-500:]}")
    cpu_s, wall_s, peak_mb = map(float, result.stdout.split())
    return {"cpu_s": round(cpu_s, 1), "wall_s": round(wall_s, 1), "peak_mb": round(peak_mb)}


def largest_difference(ours: NgramModel, theirs: NgramModel) -> dict[str, float]:
    """Of the log10 values of all n-grams. Stops the benchmark if the models do not list the same."""
    ids = np.array([ours.ids[word] for word in theirs.words], np.int32)  # theirs -> ours
    prob = backoff = 0.0
    for a, b in zip(ours.orders, theirs.orders, strict=True):
        renamed = ids[b.ids]
        rows = np.lexsort(renamed.T[::-1])
        if not np.array_equal(a.ids, renamed[rows]):
            raise SystemExit("the models list different n-grams")
        prob = max(prob, float(np.abs(a.log10_prob - b.log10_prob[rows]).max()))
        backoff = max(backoff, float(np.abs(a.log10_backoff - b.log10_backoff[rows]).max()))
    return {"log10_prob": prob, "log10_backoff": backoff}


def run(lmplz: str, text: str, order: str, prune: str, folder: Path) -> dict:
    files = {"lmplz": folder / "lmplz.arpa", "ours": folder / "ours.arpa"}
    their_prune = ["--prune", *prune.split(",")] if prune else []
    their_command = [lmplz, "-o", order, "-S", "2G", "-T", f"{folder}/", "--text", text, *their_prune]
    train = [sys.executable, "-m", "asr", "lm", "train"]
    our_command = [*train, f"text={text}", f"order={order}", f"arpa={files['ours']}"]
    row: dict = {"text": Path(text).name, "order": int(order), "prune": prune}
    row["lmplz"] = measure([*their_command, "--arpa", str(files["lmplz"])])
    row["ours"] = measure([*our_command, *([f"prune={prune}"] if prune else [])])
    row["read"] = measure([sys.executable, "-c", READ, str(files["ours"])])
    ours = arpa.read(files["ours"])
    row["ngrams"] = [len(ngrams.ids) for ngrams in ours.orders]
    row["difference"] = largest_difference(ours, arpa.read(files["lmplz"]))
    return row


def main(lmplz: str, jobs: list[str]) -> None:
    rows = []
    for job in jobs:
        text, order, prune = (job.split(":") + [""])[:3]
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row := run(lmplz, text, order, prune, Path(folder)))
        print(f"{row['text']} order {order} prune {prune or 0}: {sum(row['ngrams']) / 1e6:.2f} M n-grams")
        for what in ("lmplz", "ours", "read"):
            print("  {:6} {cpu_s:6.1f} CPU s {wall_s:6.1f} s {peak_mb:6} MB".format(what, **row[what]))
        print("  largest difference", row["difference"], flush=True)
        with atomic_write(RESULT) as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
