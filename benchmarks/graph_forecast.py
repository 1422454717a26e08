"""Forecasts of graph sizes against built graphs, for models of different shapes.

    OMP_NUM_THREADS=1 python benchmarks/graph_forecast.py [DATA]

DATA (default ../shared/data) holds text_en and text_ko. The language models are estimated on their texts, reduced to
letters and spaces. Each build runs in its own process. Prints a table and writes
benchmarks/results/graph_forecast.json.
"""

import json
import lzma
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from asr.config import LmConfig
from asr.files import atomic_write
from asr.graph import Build, GraphOptions
from asr.graph.cache import Cache
from asr.graph.grammar_sources import ArpaSource
from asr.graph.memory import peak_mb
from asr.lm import train_file
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, SPACE, Tokens
from asr.words import MARKS

RESULT = Path(__file__).parent / "results/graph_forecast.json"


class Shape(NamedTuple):
    name: str
    texts: str
    order: int
    min_count: int
    spelled: str  # letters | phones


SHAPES = [
    Shape("Korean syllables, order 3", "text_ko", 3, 3, "letters"),
    Shape("English phones, order 3", "text_en", 3, 2, "phones"),
    Shape("English phones, order 4", "text_en", 4, 2, "phones"),
    Shape("English letters, order 4", "text_en", 4, 2, "letters"),
]


def write_text(folder: Path, path: Path) -> None:
    """Write all texts of a folder in lower case, without punctuation."""
    with path.open("w", encoding="utf-8") as out:
        for packed in tqdm(sorted(folder.glob("*.xz")), desc=folder.name, delay=2.0, leave=False):
            with lzma.open(packed, "rt", encoding="utf-8") as lines:
                for line in lines:
                    letters = "".join(c if c.isalpha() or c == "'" else " " for c in line.lower())
                    if words := letters.split():
                        out.write(" ".join(words) + "\n")


def train(shape: Shape, data: Path, folder: Path) -> None:
    write_text(data / shape.texts, folder / "text.txt")
    arpa = str(folder / "lm.arpa")
    train_file(LmConfig([str(folder / "text.txt")], order=shape.order, arpa=arpa, min_count=shape.min_count), [])


def spell(words: Sequence[str], spelled: str) -> Lexicon:
    words = [word for word in words if word not in MARKS]
    return Lexicon.cmudict(words) if spelled == "phones" else Lexicon.from_spelling(words, "char")


def build(shape: Shape, folder: Path) -> dict:
    """The forecast and the measured values."""
    source = ArpaSource(folder / "lm.arpa")
    words, _ = source.vocabulary(Cache(None))
    lexicon = spell(words, shape.spelled)
    tokens = Tokens([BLANK, *([SPACE] if shape.spelled == "letters" else []), *lexicon.units()])
    stats = Build(source, lexicon, tokens, GraphOptions()).write(folder / "graph")
    assert stats.forecast
    g, lg, last = stats.stages
    return {
        "shape": shape.name,
        "words": stats.words,
        "g_arcs": g.arcs,
        "forecast": asdict(stats.forecast),
        "truth": {
            "lg_states": lg.states,
            "lg_arcs": lg.arcs,
            "states": last.states,
            "arcs": last.arcs,
            "memory_mb": peak_mb(),
            "seconds": lg.seconds + last.seconds,
        },
        "cpu_seconds": round(time.process_time(), 1),
    }


def main(data: Path) -> None:
    results = []
    context = multiprocessing.get_context("spawn")
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder, context.Pool(1, maxtasksperchild=1) as pool:
            pool.apply(train, (shape, data, Path(folder)))
            results.append(pool.apply(build, (shape, Path(folder))))
        result = results[-1]
        print(f"{shape.name}: {result['words']} words, {result['g_arcs']} arcs of G, {result['cpu_seconds']} CPU s")
        for name, truth in result["truth"].items():
            forecast = result["forecast"][name]
            print(f"  {name:10} forecast {forecast:12.7g}  truth {truth:12.7g}  {forecast / truth:5.2f}")
    with atomic_write(RESULT) as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
