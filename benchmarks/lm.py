"""Estimating language models and reading ARPA files: ours against lmplz.

    python benchmarks/lm.py text WORDS OUT TEXT ...
    python benchmarks/lm.py run LMPLZ [--repeats 3] TEXT:ORDER[:PRUNE] ...
    python benchmarks/lm.py parts TEXT ...
    python benchmarks/lm.py shards TEXT [--shards 1 2 4]

`text` writes the sentences of the files TEXT once, then further copies until there are WORDS words. In the copies, 30 %
of the words are replaced by random draws from all running words, with a fixed seed. An enlarged text thus has the word
counts of the real one, and two thirds of the trigrams of a copy contain a randomly placed word.

`run` estimates models from the same text with LMPLZ, the program of kenlm (0.3.0), with -S 2G and -S 500M, and with
`asr lm train` at its default memory_mb=500, in turn and each in its own process. It reports medians of CPU and wall
seconds and of peak memory, compares the ARPA files, and reads ours back. PRUNE is given as 0,1,2. The rows of these
jobs in benchmarks/results/lm.json are replaced; others stay.

`parts` tells where the CPU seconds of a trigram of the files TEXT, which may be counts, go in one process, with
memory_mb=500.

`shards` divides the plain text TEXT, counts each shard with `asr lm count` in a process of its own, one after the
other, and estimates a trigram from the counts, with memory_mb=500 shared among the shards. The ARPA files are compared.
The longest way is the CPU seconds of the slowest shard and of the estimation: what idle cores would take.
"""

import argparse
import filecmp
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from asr.files import atomic_write
from asr.lm import arpa
from asr.lm.corpus import Selection, encode_files
from asr.lm.estimation import Estimation
from asr.lm.model import NgramModel
from asr.lm.texts import sentences

RESULT = Path(__file__).parent / "results/lm.json"
READ = "import sys; from asr.lm import arpa; print(sum(len(n.ids) for n in arpa.read(sys.argv[1]).orders))"
DRAWN_ANEW = 0.3  # share of a copy's words that are replaced


# A small helper process starts the measured one: peak memory counts from that of the parent process.
MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def make_text(num_words: int, out: str, texts: list[str]) -> None:
    """Write at least `num_words` words, in whole sentences."""
    tokens = np.array([token for sentence in sentences(texts) for token in (*sentence.split(), "\n")], object)
    is_word = tokens != "\n"
    words = tokens[is_word]
    random = np.random.default_rng(0)
    with atomic_write(out) as file:
        file.write(as_lines(tokens))
        for left in range(num_words - len(words), 0, -len(words)):
            copy = tokens.copy()
            anew = np.flatnonzero(is_word & (random.random(len(tokens)) < DRAWN_ANEW))
            copy[anew] = random.choice(words, len(anew))
            enough = np.searchsorted(np.cumsum(is_word), left) if left < len(words) else len(copy) - 1
            file.write(as_lines(copy[: enough + np.argmax(copy[enough:] == "\n") + 1]))


def as_lines(tokens: np.ndarray) -> str:
    return " ".join(tokens).replace(" \n", "\n").replace("\n ", "\n")


def measure(command: list[str]) -> dict[str, float]:
    """CPU seconds, wall seconds and peak memory of a process."""
    result = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{command[0]} failed: {result.stderr[-500:]}")
    cpu_s, wall_s, peak_mb = map(float, result.stdout.split())
    return {"cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak_mb}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {what: round(statistics.median(run[what] for run in runs), 1) for what in runs[0]}


def largest_difference(ours: NgramModel, theirs: NgramModel) -> dict[str, float]:
    """The largest difference of log10 values over all n-grams. Exits if the models do not list the same n-grams."""
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


def run(lmplz: str, text: str, order: str, prune: str, folder: Path, repeats: int) -> dict:
    theirs, ours = folder / "lmplz.arpa", folder / "ours.arpa"
    estimate = [lmplz, "-o", order, "-T", f"{folder}/", "--text", text, "--arpa", str(theirs)]
    estimate += ["--prune", *prune.split(",")] if prune else []
    train = [sys.executable, "-m", "asr", "lm", "train", f"text={text}", f"order={order}", f"arpa={ours}"]
    train += [f"prune={prune}"] if prune else []
    commands = {"lmplz -S 2G": [*estimate, "-S", "2G"], "lmplz -S 500M": [*estimate, "-S", "500M"], "ours": train}
    runs: dict[str, list] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(measure(command))
            print(" ", name, runs[name][-1], file=sys.stderr, flush=True)
    row: dict = {"text": Path(text).name, "order": int(order), "prune": prune, "repeats": repeats}
    row |= {name: medians(found) for name, found in runs.items()}
    row["read"] = medians([measure([sys.executable, "-c", READ, str(ours)])])
    model = arpa.read(ours)
    row["ngrams"] = [len(ngrams.ids) for ngrams in model.orders]
    row["difference"] = largest_difference(model, arpa.read(theirs))
    row["load"] = round(os.getloadavg()[2], 1)  # over the last 15 minutes
    return row


def run_all(lmplz: str, jobs: list[str], repeats: int) -> None:
    for job in jobs:
        text, order, prune = (job.split(":") + [""])[:3]
        with tempfile.TemporaryDirectory() as folder:
            row = run(lmplz, text, order, prune, Path(folder), repeats)
        print(f"{row['text']} order {order} prune {prune or 0}: {sum(row['ngrams']) / 1e6:.2f} M n-grams")
        for what in ("lmplz -S 2G", "lmplz -S 500M", "ours", "read"):
            print("  {:13} {cpu_s:6.1f} CPU s {wall_s:6.1f} s {peak_mb:6.0f} MB".format(what, **row[what]))
        print("  largest difference", row["difference"], flush=True)
        rows = {(row["text"], row["order"], row["prune"]): row for row in json.loads(RESULT.read_text())}
        rows[row["text"], row["order"], row["prune"]] = row
        with atomic_write(RESULT) as file:
            json.dump(list(rows.values()), file, indent=1)


def tell_parts(texts: list[str]) -> None:
    load, at = os.getloadavg()[0], [time.process_time()]
    with tempfile.TemporaryDirectory() as folder:
        corpus = encode_files(texts, Selection(), 500, folder, order=3)
        at.append(time.process_time())
        estimation = Estimation(corpus, 3)
        at.append(time.process_time())
        with open(f"{folder}/x.arpa", "wb") as file:
            estimation.write(file)
        at.append(time.process_time())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reading, counting, estimating = np.diff(at)
    words = corpus.num_words / 1e6
    print(f"{Path(texts[0]).name}: {words:.1f} M words; CPU s: reading {reading:.2f}, counting {counting:.2f}, "
          f"estimating and writing {estimating:.2f}; {words / (at[-1] - at[0]):.2f} M words per CPU s, of reading and "
          f"counting {words / (reading + counting):.2f} M; peak {peak_mb:.0f} MB; load {load:.1f}")  # fmt: skip


def divide_and_count(text: str, shards: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in shards:
            load, own = os.getloadavg()[0], [sys.executable, "-m", "asr", "lm"]
            paths, counting_s, merged = cut(text, count, folder), [], []
            for path in paths if count > 1 else []:
                merged.append(f"{path}.counts")
                limits = [f"memory_mb={500 // count}", "threads=1"]
                counting_s.append(measure([*own, "count", str(path), f"output={merged[-1]}", *limits])["cpu_s"])
            names = ",".join(merged or map(str, paths))
            found = measure([*own, "train", f"text={names}", f"arpa={folder}/{count}.arpa", "threads=1"])
            size_mb = sum(os.path.getsize(path) for path in merged) / 1e6
            same = filecmp.cmp(folder / f"{shards[0]}.arpa", folder / f"{count}.arpa", shallow=False)
            longest_s = max(counting_s, default=0) + found["cpu_s"]
            print(f"{Path(text).name} in {count}: CPU s of the shards {sum(counting_s):.1f}, of the rest "
                  f"{found['cpu_s']:.1f}, of the longest way {longest_s:.1f}; its peak {found['peak_mb']:.0f} MB; "
                  f"counts {size_mb:.0f} MB; {'the same bytes' if same else 'OTHER BYTES'}; load {load:.1f}",
                  flush=True)  # fmt: skip


def cut(text: str, count: int, folder: Path) -> list[Path]:
    """The text in `count` files of about one size."""
    size, paths = os.path.getsize(text), []
    with open(text, "rb") as file:
        for number in range(1, count + 1):
            paths.append(folder / f"{count}-{number}.txt")
            left = size * number // count - file.tell()
            paths[-1].write_bytes(file.read(left) + file.readline())
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    text = verbs.add_parser("text")
    text.add_argument("words", type=int)
    text.add_argument("out")
    text.add_argument("texts", nargs="+")
    compare = verbs.add_parser("run")
    compare.add_argument("lmplz")
    compare.add_argument("jobs", nargs="+", metavar="TEXT:ORDER[:PRUNE]")
    compare.add_argument("--repeats", type=int, default=3)
    parts = verbs.add_parser("parts")
    parts.add_argument("texts", nargs="+")
    divide = verbs.add_parser("shards")
    divide.add_argument("text")
    divide.add_argument("--shards", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    if options.verb == "text":
        make_text(options.words, options.out, options.texts)
    elif options.verb == "parts":
        tell_parts(options.texts)
    elif options.verb == "shards":
        divide_and_count(options.text, options.shards)
    else:
        run_all(options.lmplz, options.jobs, options.repeats)


if __name__ == "__main__":
    main()
