"""The cost of a request's phrases, new words or word list before decoding, with a thousand and with a million words.

    OMP_NUM_THREADS=1 python benchmarks/per_request.py FOLDER [COLUMN]

FOLDER keeps the two dynamic graphs, which the first run builds (minutes): the words of the bench pack (../shared/bench)
and compounds of two of them, with a bigram model of made-up probabilities. Prints CPU milliseconds, medians of `RUNS`,
and writes them into benchmarks/results/per_request.json under COLUMN ("after" unless given). For another version of the
code set PYTHONPATH to it.

`then decode` is the search of the bench pack's first utterance afterwards: a request with new words begins a graph that
has not grown yet. `first use` includes what is built once per graph and kept.
"""

import itertools
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from graph import read_pack

from asr.config import Config
from asr.files import atomic_write
from asr.graph.dynamic import compile_dynamic
from asr.graph.memory import resident_mb
from asr.models.acoustic import AcousticModel
from asr.recognizer.recognizer import Recognizer
from asr.search.new_words import NewWord
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

RESULT = Path(__file__).parent / "results/per_request.json"
BENCH = Path(__file__).parents[2] / "shared/bench"
SIZES = (1_000, 1_000_000)
COUNTS = (1, 100, 1000)
LISTED = 100
BIGRAMS = 200_000
RUNS = 7


def build(folder: Path, size: int, tokens: Tokens, bench: Lexicon) -> None:
    """The dynamic graph of `size` words in `folder`, unless it is there."""
    if (folder / "graph/stats.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    known = [*bench.pronunciations]
    spelled = {word: bench.pronunciations[word] for word in known[:size]}
    while len(spelled) < size:
        first, second = draw.choices(known, k=2)
        spelled.setdefault(first + second, [(*bench.pronounce(first), *bench.pronounce(second))])
    write_arpa(list(spelled), folder / "lm.arpa", draw)
    compile_dynamic(tokens, Lexicon(spelled), folder / "lm.arpa", folder / "graph")


def write_arpa(words: list[str], path: Path, draw: random.Random) -> None:
    """Unigrams by Zipf's law, a slot <name>, and bigrams after the 1,000 likeliest words."""
    unigrams = [*words, "<unk>", "<name>", "</s>"]
    total = math.log10(sum(1 / rank for rank in range(1, len(unigrams) + 1)))
    histories = words[:1000] if len(words) > 1000 else words
    each = min(BIGRAMS // len(histories), len(words) // 2)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"\\data\\\nngram 1={len(unigrams) + 1}\nngram 2={len(histories) * (each + 2)}\n\n\\1-grams:\n")
        file.write("-99\t<s>\t-0.3\n")
        for rank, word in enumerate(unigrams, 1):
            file.write(f"{-math.log10(rank) - total:.4f}\t{word}" + ("\n" if word == "</s>" else "\t-0.3\n"))
        file.write("\n\\2-grams:\n")
        for history in histories:
            for word in [*draw.sample(words, each), "<unk>", "<name>"]:
                file.write(f"{-math.log10(2 * (each + 2)):.4f}\t{history} {word}\n")
        file.write("\n\\end\\\n")


def measure(size: int, folder: Path, tokens: Tokens, bench: Lexicon) -> dict[str, Any]:
    build(folder, size, tokens, bench)
    cfg = Config()
    cfg.tokens.unit, cfg.features.num_bins, cfg.model.hidden, cfg.model.layers = "phone", 8, 8, 1
    cfg.decoder.acoustic_scale = 2.0
    space = SearchSpace.read(folder / "graph", tokens)
    recognizer = Recognizer(AcousticModel(cfg.features, cfg.model, len(tokens)), cfg, tokens, space)
    end = int(np.load(BENCH / "offsets.npy")[1])
    log_probs = np.ascontiguousarray(np.load(BENCH / "logp_f16.npy")[:end].astype(np.float32))
    draw = random.Random(2)
    words = [space.words[label] for label in draw.sample(range(1, size + 1), 100)]  # few; phrases are pairs of them
    own = [NewWord(f"new{n}x", tuple(bench.pronunciations[word]), "<name>" if n % 2 else None)
           for n, word in enumerate(draw.choices([*bench.pronunciations], k=max(COUNTS)))]  # fmt: skip
    phrases = {f"{first} {second}": 3.0 for first in words[:40] for second in words[:40]}
    boosts = itertools.count(3.0, 1e-3)  # a list with other boosts is another list
    requests: dict[str, Callable[[], Any]] = {}
    for count in COUNTS:
        some = dict(list(phrases.items())[:count])
        requests[f"{count} phrases"] = lambda some=some: recognizer.compile_phrases(dict.fromkeys(some, next(boosts)))
        requests[f"{count} phrases again"] = lambda some=some: recognizer.compile_phrases(some)
    for count in COUNTS:
        requests[f"{count} new words"] = lambda count=count: recognizer.with_new_words(own[:count])
    requests[f"list of {LISTED}"] = lambda: recognizer.with_list(words[:LISTED])
    recognizer.search("warm", log_probs, 1.0)
    rows: dict[str, Any] = {"resident_mb": resident_mb()}
    for name, prepare in requests.items():
        times, decoding = [], []
        for _ in range(RUNS + 1):
            start = time.process_time()
            prepared = prepare()
            times.append(time.process_time() - start)
            start = time.process_time()
            if isinstance(prepared, Recognizer):
                prepared.search("x", log_probs, 1.0)
            else:
                recognizer.search("x", log_probs, 1.0, prepared)
            decoding.append(time.process_time() - start)
            del prepared
        rows[name] = {"first_ms": _ms(times[0]), "ms": _ms(statistics.median(times[1:])),
                      "then_decode_ms": _ms(statistics.median(decoding[1:]))}  # fmt: skip
    rows["resident_mb_after"] = resident_mb()
    return rows


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 2)


def main(folder: Path, column: str = "after") -> None:
    tokens, bench = read_pack(BENCH)
    found = {str(size): measure(size, folder / str(size), tokens, bench) for size in SIZES}
    print(f"{'words':>9}  {'request':16} {'first use ms':>12} {'ms':>9} {'then decode ms':>15}")
    for size, rows in found.items():
        for name, row in rows.items():
            if isinstance(row, dict):
                print(f"{size:>9}  {name:16} {row['first_ms']:12.2f} {row['ms']:9.2f} {row['then_decode_ms']:15.2f}")
        print(f"{size:>9}  resident MB: {rows['resident_mb']} before, {rows['resident_mb_after']} after the requests")
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with atomic_write(RESULT) as file:
        json.dump(result | {column: found}, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
