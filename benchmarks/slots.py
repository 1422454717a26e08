"""Slots of a language model on real speech: AN4, whose callers spell codes and say numbers.

    OMP_NUM_THREADS=1 python -m benchmarks.slots RUN [DATA]

RUN is the run folder of the recipe an4, DATA its prepared data if it is not RUN/data. The training texts give two
trigrams: one of the texts as they are, and one in which runs of spelled letters and numbers are the slot <code>.
Both are searched as dynamic graphs, with the decoder that was tuned for the first. The slot is filled in turn by a
grammar and by lists of the codes of the test set among drawn ones. For comparison the first model is told the codes as
boosted phrases. Prints the word error rate of the test set, the utterances that are entirely right, the milliseconds
that a request takes to prepare, and the CPU milliseconds of the search per second of speech: in the first pass over the
test set, in which the graph grows, and in a later one. Writes benchmarks/results/slots.json.
"""

import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asr
from asr import manifest, pipeline
from asr.files import atomic_write
from asr.graph.dynamic import compile_dynamic
from asr.graph.spoken_rules import spoken_rules
from asr.lm import arpa
from asr.lm.training import train
from asr.recognizer.recognizer import Recognizer
from asr.search.phrases import Phrases
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from benchmarks.real_search import HERE, Scored, rate_of, scored, search

SLOT = "<code>"
COUNTS = (100, 1_000, 10_000)
RUNS = 5
RULES = spoken_rules("en")
NUMBERS = {part.name.upper() for rule in ("<ones>", "<teens>", "<tens>") for part in RULES.nodes[rule].parts}
NUMBERS |= {"ZERO", "OH", "HUNDRED"}
GRAMMAR = f"""#JSGF V1.0; grammar an4;
public {SLOT} = (<letter> | <figure>)+;
<figure> = {" | ".join(sorted(NUMBERS))};
"""


def is_code(word: str) -> bool:
    return word in NUMBERS or (len(word) == 1 and word.isalpha())


def with_slots(text: str) -> tuple[str, list[str]]:
    """The text with its codes in slots, and the codes. A number before an ordinal or the name of a thing is none."""
    words, codes, out = [*text.split(), "."], [], []
    run: list[str] = []
    for word in words:
        if is_code(word):
            run.append(word)
            continue
        if len(run) > 1 and not word.endswith(("TH", "ST", "ND", "RD")):
            codes.append(" ".join(run))
            run = [SLOT]
        out += [*run, word]
        run = []
    return " ".join(out[:-1]), codes


def drawn(known: list[str], count: int) -> list[str]:
    """Codes made like those of the training set: letters and numbers drawn in the place of theirs."""
    draw = random.Random(count)
    kinds = [[w for w in map(chr, range(65, 91))], sorted(NUMBERS)]
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choice(kinds[word in NUMBERS]) for word in draw.choice(known).split())] = None
    return list(found)


def dynamic(recognizer: Recognizer, texts: list[str], folder: Path) -> Recognizer:
    """The recogniser over a dynamic graph with a trigram of the texts."""
    folder.mkdir()
    arpa.write(train(texts, 3), folder / "lm.arpa")
    lexicon = Lexicon.read(Path(recognizer.cfg.tokens.lexicon or ""))
    compile_dynamic(recognizer.tokens, lexicon, folder / "lm.arpa", folder / "graph")
    space = SearchSpace.read(folder / "graph", recognizer.tokens)
    return Recognizer(recognizer.model, recognizer.cfg, recognizer.tokens, space)


def row(what: str, data: Scored, prepare: Callable[[], tuple[Recognizer, Phrases | None]]) -> dict[str, Any]:
    times, first, later = [], [], []
    for _ in range(RUNS):
        start = time.thread_time()
        recognizer, phrases = prepare()
        times.append(1000 * (time.thread_time() - start))
        found, cpu = search(recognizer, data, phrases)
        first.append(1000 * cpu)
        later.append(1000 * search(recognizer, data, phrases)[1])
    right = sum(u.transcript == h.text for (u, _, _), h in zip(data, found, strict=True))
    medians = {"prepare_ms": times, "first_ms": first, "later_ms": later}
    figures = {name: round(statistics.median(values), 2) for name, values in medians.items()}
    result = {"search": what, "wer": rate_of(data, found, "wer"), "right": right, **figures}
    print(json.dumps(result), flush=True)
    return result


def main(run: Path, prepared: Path | None = None) -> None:
    cfg = asr.tuned(asr.Config(out=str(run)))
    opened = pipeline.open_recognizer(cfg)
    opened = opened.with_decoder(replace(opened.cfg.decoder, calibrated_for=[]))
    sets = {name: (prepared or run / "data") / f"{name}.jsonl" for name in ("train", "test")}
    data = scored(opened, sets["test"], run.resolve().name)
    texts = [u.transcript for u in manifest.read(sets["train"])]
    slotted = [with_slots(text) for text in texts]
    known = [code for _, codes in slotted for code in codes]
    said = [code for u, _, _ in data for code in with_slots(u.transcript)[1]]
    print(f"{len(known)} codes in the training texts, {len(said)} in the test set, of which "
          f"{len(set(said) - set(known))} are not in the training texts")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        plain = dynamic(opened, texts, Path(folder) / "plain")
        slots = dynamic(opened, [text for text, _ in slotted], Path(folder) / "slots")
        rows = [
            row("no slots", data, lambda: (plain.with_decoder(plain.cfg.decoder), None)),
            row("grammar", data, lambda: (slots.with_slots({SLOT: GRAMMAR}), None)),
        ]
        for count in COUNTS:
            codes = dict.fromkeys([*said, *drawn(known, count)])
            listed = list(codes)[: max(count, len(set(said)))]
            rows.append(row(f"list of {count}", data, lambda listed=listed: (slots.with_slots({SLOT: listed}), None)))
        boosts = itertools.count(3.0, 1e-4)  # a list with other boosts is another list, which is compiled
        rows.append(
            row("no slots, 1000 phrases", data,
                lambda: (plain, plain.compile_phrases(dict.fromkeys(listed[:1000], next(boosts)))))
        )  # fmt: skip
    seconds = sum(each for _, _, each in data)
    with atomic_write(HERE / "slots.json") as file:
        json.dump({"codes": len(said), "seconds": round(seconds, 1), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
