"""The dynamic graph beside the compiled one, words that a request brings along, and lexicons up to a million words.

    python benchmarks/dynamic_graph.py bench              # the same words as HLG? how fast, cold and warm?
    python benchmarks/dynamic_graph.py new-words          # 1,000 of them: ready when, found how often?
    python benchmarks/dynamic_graph.py curve TEXT FOLDER  # 10,000 to 1,000,000 words; FOLDER from million_words.py

All decode the bench pack (../shared/bench: 400 utterances, 41 minutes, 40 phones) on one thread. Prints tables; writes
benchmarks/results/dynamic_graph.json, each part under its name.
"""

import collections
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from graph import read_pack
from rapidfuzz.distance import Levenshtein

from asr.config import LmConfig
from asr.files import atomic_write
from asr.graph import compile_graph
from asr.graph.dynamic import Language, compile_dynamic
from asr.lm import train_file
from asr.new_words import NewWord
from asr.search import Decoder
from asr.tables import DynamicTables, GraphTables
from asr.text.lexicon import Lexicon

RESULT = Path(__file__).parent / "results/dynamic_graph.json"
BENCH = Path(__file__).parents[2] / "shared/bench"
FRAME_S, SCALE, RUNS = 0.04, 2.0, 3
BEAMS = (12.0, 16.0, 20.0)
BEAM = 16.0  # of all but the first table
NEW, HEARD = 1000, 200  # words that a request brings along; of them said
SIZES = (10_000, 30_000, 100_000, 200_000, 500_000, 1_000_000)
STATIC_SIZES = (10_000, 30_000, 100_000, 200_000)
CUTOFFS = [0, 0, 1]  # n-gram counts that the language models of the curve leave out, by order


def utterances() -> list[np.ndarray]:
    log_probs = np.load(BENCH / "logp_f16.npy").astype(np.float32)
    offsets = np.load(BENCH / "offsets.npy")
    return [np.ascontiguousarray(log_probs[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)]


def references() -> list[list[str]]:
    return [line.split("\t")[1].split() for line in (BENCH / "refs.txt").read_text().splitlines()]


def decode(tables: GraphTables, beam: float = BEAM) -> tuple[list[list[str]], list[float], float]:
    """The words of each utterance, their costs, and CPU seconds for a second of audio."""
    decoder = Decoder(tables.graph, beam=beam, acoustic_scale=SCALE)
    heard = utterances()
    start = time.process_time()
    paths = [decoder.decode(u) for u in heard]
    seconds = time.process_time() - start
    words = [[tables.words[label] for label in path.labels] for path in paths]
    return words, [path.cost for path in paths], seconds / sum(len(u) * FRAME_S for u in heard)


def word_error_rate(found: list[list[str]], refs: list[list[str]]) -> float:
    return round(100 * sum(map(Levenshtein.distance, found, refs)) / sum(map(len, refs)), 2)


def measure_bench(folder: Path) -> dict[str, Any]:
    """Cold: a graph in which nothing has grown yet. Systems take turns; medians."""
    tokens, lexicon = read_pack(BENCH)
    start = time.perf_counter()
    compile_graph(tokens, lexicon, BENCH / "lm3.arpa.xz", folder / "static")
    static_s = time.perf_counter() - start
    start = time.perf_counter()
    compile_dynamic(tokens, lexicon, BENCH / "lm3.arpa.xz", folder / "dynamic")
    dynamic_s = time.perf_counter() - start
    static = GraphTables.read(folder / "static", tokens)
    language = Language.open(folder / "dynamic")
    result: dict[str, Any] = {
        "build_s": {"static": round(static_s, 1), "dynamic": round(dynamic_s, 1)},
        "mb": {kind: _megabytes(folder / kind) for kind in ("static", "dynamic")},
    }
    rows = []
    for beam in BEAMS:
        rtfs: dict[str, list[float]] = collections.defaultdict(list)
        for _ in range(RUNS):
            dynamic = DynamicTables.of(language, None)
            for name, tables in (("static", static), ("cold", dynamic), ("warm", dynamic)):
                words, costs, rtf = decode(tables, beam)
                rtfs[name].append(rtf)
                if name == "static":
                    want, want_costs = words, costs
        same = [w == x for w, x in zip(words, want, strict=True)]
        gap = max(abs(a - b) for a, b, s in zip(costs, want_costs, same, strict=True) if s)
        medians = {name: round(float(np.median(values)), 6) for name, values in rtfs.items()}
        rows.append(
            {"beam": beam, **medians, "same_words": sum(same), "cost_gap": float(f"{gap:.1e}"),
             "wer": word_error_rate(words, references()), "grown_states": dynamic.graph.num_states}
        )  # fmt: skip
    return result | {"rows": rows}


def measure_new_words(folder: Path, text: Path | None) -> dict[str, Any]:
    """Words taken out of the lexicon come back as new ones. Costs were chosen on the first half of the utterances."""
    tokens, lexicon = read_pack(BENCH)
    refs = references()
    counts = collections.Counter(word for ref in refs for word in ref)
    draw = random.Random(1)
    said = draw.sample(sorted(w for w in counts if counts[w] <= 2 and len(w) >= 4), HEARD)
    unsaid = sorted(w for w in lexicon.pronunciations if w not in counts and len(w) >= 4)
    new = sorted([*said, *draw.sample(unsaid, NEW - HEARD)])
    rest = [word for word in lexicon.pronunciations if word not in set(new)]
    models = {"bench, without contexts of <unk>": (BENCH / "lm3.arpa.xz", BENCH / "lm3.arpa.xz")}
    if text is not None:
        for name, words in (("all", list(lexicon.pronunciations)), ("rest", rest)):
            (folder / f"{name}.txt").write_text("\n".join(words))
            train_file(LmConfig([str(text)], 3, str(folder / f"{name}.arpa"), str(folder / f"{name}.txt")))
        models["own, with contexts of <unk>"] = (folder / "all.arpa", folder / "rest.arpa")
    result: dict[str, Any] = {}
    for name, (whole_path, rest_path) in models.items():
        compile_dynamic(tokens, lexicon, whole_path, folder / "whole")
        small = Lexicon({word: lexicon.pronunciations[word] for word in rest})
        compile_dynamic(tokens, small, rest_path, folder / "small")
        tables = GraphTables.read(folder / "small", tokens)
        assert isinstance(tables, DynamicTables)
        start = time.perf_counter()
        extended = tables.with_words(
            [NewWord(word, tuple(lexicon.pronunciations[word])) for word in new], tokens, lambda words: {}
        )
        ready_s = time.perf_counter() - start
        systems = {
            "in the language model": GraphTables.read(folder / "whole", tokens),
            "unknown": tables,
            "new words": extended,
        }
        rows = {kind: _recall(decode(some)[0], refs, set(new)) for kind, some in systems.items()}
        result[name] = {"ready_ms": round(1e3 * ready_s, 1), **rows}
    return result


def _recall(found: list[list[str]], refs: list[list[str]], new: set[str]) -> dict[str, Any]:
    """By halves: the share of the new words that were found, and WER of the utterances that hold none."""
    halves = {}
    middle = len(refs) // 2
    for half, part in {"first": slice(middle), "second": slice(middle, None)}.items():
        hits = total = 0
        for words, ref in zip(found[part], refs[part], strict=True):
            equal = [op for op in Levenshtein.opcodes(ref, words) if op.tag == "equal"]
            right = {k for op in equal for k in range(op.src_start, op.src_end)}
            places = [k for k, word in enumerate(ref) if word in new]
            hits, total = hits + sum(k in right for k in places), total + len(places)
        free = [(w, r) for w, r in zip(found[part], refs[part], strict=True) if not new & set(r)]
        elsewhere = word_error_rate(*map(list, zip(*free, strict=True)))
        halves[half] = {"recall": round(100 * hits / total, 1), "of": total, "wer_elsewhere": elsewhere}
    return halves


def measure_curve(text: Path, folder: Path) -> list[dict[str, Any]]:
    """Every step in a process of its own, whose peak memory it tells."""
    rows = []
    for size in SIZES:
        place = folder / str(size)
        row: dict[str, Any] = {"words": size}
        steps = ["lm", "dynamic", "decode-dynamic"]
        steps += ["static", "decode-static"] if size in STATIC_SIZES else []
        for step in steps:
            command = [sys.executable, __file__, "step", step, str(text), str(folder), str(size)]
            row[step] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(row)
        print(json.dumps(row), flush=True)
        (place / "row.json").write_text(json.dumps(row))
    return rows


def run_step(step: str, text: Path, folder: Path, size: int) -> dict[str, Any]:
    place = folder / str(size)
    place.mkdir(exist_ok=True)
    tokens = read_pack(BENCH)[0]
    start = time.perf_counter()
    result: dict[str, Any] = {}
    if step == "lm":
        words = (folder / "words.txt").read_text().split()[:size]
        (place / "words.txt").write_text("\n".join(words))
        cfg = LmConfig([str(text)], 3, str(place / "lm.arpa"), str(place / "words.txt"), prune=CUTOFFS)
        result["ngrams"] = train_file(cfg).ngrams
    elif step in ("dynamic", "static"):
        kept = set((place / "words.txt").read_text().split())
        lexicon = Lexicon.read(folder / "lexicon.txt")
        lexicon = Lexicon({w: v for w, v in lexicon.pronunciations.items() if w in kept})
        result["lexicon_s"] = round(time.perf_counter() - start, 1)
        if step == "static":
            stats = compile_graph(tokens, lexicon, place / "lm.arpa", place / step)
            result["arcs"] = stats.stages[-1].arcs
        else:
            compile_dynamic(tokens, lexicon, place / "lm.arpa", place / step)
        result["mb_on_disk"] = _megabytes(place / step)
    else:
        tables = GraphTables.read(place / step.removeprefix("decode-"), tokens)
        result["open_s"] = round(time.perf_counter() - start, 2)
        runs = [decode(tables) for _ in range(RUNS + 1)]
        result |= {"cold": round(runs[0][2], 6), "warm": round(float(np.median([r[2] for r in runs[1:]])), 6)}
        result |= {"wer": word_error_rate(runs[0][0], references())}
        result["oov"] = round(100 * _unknown_share(set(tables.words)), 2)
    result["seconds"] = round(time.perf_counter() - start, 1)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def _unknown_share(words: set[str]) -> float:
    said = [word for ref in references() for word in ref]
    return sum(word not in words for word in said) / len(said)


def _megabytes(folder: Path) -> float:
    return round(sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".bin", ".ngram")) / 2**20, 1)


def main(part: str, *places: str) -> None:
    if part == "step":
        step, text, folder, size = places
        print(json.dumps(run_step(step, Path(text), Path(folder), int(size))))
        return
    with tempfile.TemporaryDirectory() as out:
        if part == "bench":
            found: Any = measure_bench(Path(out))
        elif part == "new-words":
            found = measure_new_words(Path(out), Path(places[0]) if places else None)
        else:
            found = measure_curve(*map(Path, places))
    print(json.dumps(found, indent=1))
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with atomic_write(RESULT) as file:
        json.dump(result | {part: found}, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
