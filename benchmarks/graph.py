"""The stages of building a search graph: states, arcs, seconds, memory, and the forecast.

    OMP_NUM_THREADS=1 python benchmarks/graph.py [FOLDER]

FOLDER (default ../shared/bench) holds lexicon.txt.gz (a word and its tokens per line), tokens.txt (one token per line,
the blank first) and lm3.arpa.xz. Prints a table and writes benchmarks/results/graph.json.
"""

import gzip
import json
import platform
import resource
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from asr.files import atomic_write
from asr.graph import compile_graph
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens

RESULT = Path(__file__).parent / "results/graph.json"


def read_pack(folder: Path) -> tuple[Tokens, Lexicon]:
    """The token table and the lexicon of the bench pack."""
    symbols = [line.split()[0] for line in (folder / "tokens.txt").read_text().splitlines()]
    pronunciations: dict[str, list[list[str]]] = {}
    with gzip.open(folder / "lexicon.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            word, *units = line.split()
            pronunciations.setdefault(word, []).append(units)
    return Tokens([BLANK, *symbols[1:]]), Lexicon(pronunciations)


def main(folder: Path) -> None:
    tokens, lexicon = read_pack(folder)
    with tempfile.TemporaryDirectory() as out:
        start, start_cpu = time.perf_counter(), time.process_time()
        stats = compile_graph(tokens, lexicon, folder / "lm3.arpa.xz", Path(out) / "graph")
        whole = {
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - start_cpu, 1),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "forecast": asdict(stats.forecast) if stats.forecast else None,
            "graph_mb": round((Path(out) / "graph/graph.bin").stat().st_size / 2**20),
        }
    for stage in stats.stages:
        print(f"{stage.name:8} {stage.states:9} states {stage.arcs:9} arcs {stage.seconds:6.1f} s {stage.peak_mb:5} MB")
    print(whole)
    result = {"machine": platform.processor() or platform.machine(), "stages": [asdict(s) for s in stats.stages]}
    with atomic_write(RESULT) as file:
        json.dump(result | whole, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
