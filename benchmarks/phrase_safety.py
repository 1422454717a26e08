"""What boosting phrases does to speech in which none of them is said: false alarms and word error rate by boost.

    OMP_NUM_THREADS=1 python -m benchmarks.phrase_safety RUN TEST.jsonl [TEXT] [RATE]

RUN, TEST and RATE are those of benchmarks/real_search.py, whose log-probs are used if it has been run; RUN may also be
a bundle, which has its own scales. The phrases are drawn from the words of the graph, or from those of the file TEXT
that a graph of pieces can spell: pairs of words, and single words, that no text of TEST has; fewer where there are not
as many. A false alarm is a phrase that is found. CPU seconds are those of the search per second of sound. Prints a
table, and for each list the largest boost up to which the error rate rises by less than 0.1 points. Writes
benchmarks/results/phrase_safety-RUN-TEST.json.
"""

import json
import random
import sys
from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import asr
from asr import manifest, pipeline
from asr.evaluation.score import normalise
from asr.files import atomic_write
from asr.hypothesis import Hypothesis
from asr.search.space import SearchSpace
from benchmarks.real_search import HERE, rate_of, scored, search

COUNTS, BOOSTS, RISE = (1_000, 10_000), (0.25, 0.5, 1.0, 2.0, 3.0, 5.0), 0.1
RATES = ("wer", "cer_without_spaces")


def words_of(space: SearchSpace, text: Path | None) -> list[str]:
    """The words to draw from, once each."""
    words = set(text.read_text().split()) if text else set(space.words)
    if space.of_pieces:
        words = {word for word in words if all(piece in space.labels for piece in space.segmented(word).split())}
    return sorted(word for word in words if word.isalpha())


def drawn(known: list[str], said: list[list[str]], words_each: int, count: int) -> list[str]:
    """Phrases that no text has, of words drawn with equal probabilities."""
    draw = random.Random(words_each)
    spoken = {" ".join(part) for text in said for part in zip(*(text[k:] for k in range(words_each)), strict=False)}
    if words_each == 1:
        unsaid = [word for word in known if word not in spoken]
        return draw.sample(unsaid, min(count, len(unsaid)))
    count = min(count, len(known) ** words_each // 2)
    found: dict[str, None] = {}
    while len(found) < count:
        phrase = " ".join(draw.choices(known, k=words_each))
        if phrase not in spoken:
            found[phrase] = None
    return list(found)


def alarms(found: list[Hypothesis], phrases: set[str]) -> int:
    """The places at which a phrase is found."""
    words = [h.text.split() for h in found]
    pairs = [" ".join(pair) for text in words for pair in pairwise(text)]
    return sum(part in phrases for part in [*pairs, *(word for text in words for word in text)])


def safe_boost(rows: list[dict[str, Any]], rate: str, before: float) -> float:
    """The largest boost up to which the error rate rises by less than RISE; 0: none."""
    return max((row["boost"] for row in takewhile(lambda row: row[rate] - before < RISE - 1e-9, rows)), default=0.0)


def main(run: Path, path: Path, text: Path | None, rate: str) -> None:
    recognizer = asr.load(run) if run.is_file() else pipeline.open_recognizer(asr.tuned(asr.Config(out=str(run))))
    recognizer = recognizer.with_decoder(
        replace(recognizer.cfg.decoder, lattice_beam=None, rescore=None, calibrated_for=[])
    )
    assert recognizer.space is not None
    name = (run.parent if run.is_file() else run).resolve().name
    data = scored(recognizer, path, name)
    said = [normalise(u.transcript).split() for u in manifest.read(path) if u.text]
    known = words_of(recognizer.space, text)
    search(recognizer, data)  # a dynamic graph grows
    plain, cpu = search(recognizer, data)
    rows: list[dict[str, Any]] = [{"phrases": 0, rate: rate_of(data, plain, rate), "cpu": round(cpu, 5)}]
    print(json.dumps(rows[0]), flush=True)
    for words_each in (2, 1):
        lists = {len(phrases): phrases for phrases in (drawn(known, said, words_each, count) for count in COUNTS)}
        for phrases in lists.values():
            for boost in BOOSTS:
                compiled = recognizer.compile_phrases(dict.fromkeys(phrases, boost))
                found, cpu = search(recognizer, data, compiled)
                rows.append({
                    "phrases": len(phrases), "words_each": words_each, "boost": boost,
                    "alarms": alarms(found, set(phrases)), "before": alarms(plain, set(phrases)),
                    rate: rate_of(data, found, rate), "cpu": round(cpu, 5),
                })  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
            safe = safe_boost(rows[-len(BOOSTS) :], rate, rows[0][rate])
            print(f"{len(phrases)} phrases of {words_each} words: the boost {safe:g} is safe", flush=True)
    hours = sum(seconds for _, _, seconds in data) / 3600
    with atomic_write(HERE / f"phrase_safety-{name}-{path.stem}.json") as file:
        json.dump({"hours": round(hours, 3), "words": sum(map(len, said)), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:] if word not in RATES]
    given = next((word for word in sys.argv[1:] if word in RATES), RATES[0])
    main(paths[0], paths[1], paths[2] if len(paths) > 2 else None, given)
