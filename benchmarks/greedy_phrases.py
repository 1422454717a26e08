"""Boosted phrases in a search without a graph: places found, false alarms and error rates by boost.

    OMP_NUM_THREADS=1 python -m benchmarks.greedy_phrases RUN DEV.jsonl TRAIN.jsonl HALF [BOOSTS [RATE]]

RUN and DEV are those of benchmarks/real_search.py, whose log-probs are used if it has been run. HALF is 0 or 1: every
other utterance, to choose a boost on one half and tell it on the other. Phrases have one or two words and three letters
or more: one of each length from each text of DEV, which are said, and others from 1,500 texts of TRAIN. A place is
found if the text of its utterance has the phrase there; more than it has are false alarms. BOOSTS count per phrase, per
word and per letter. RATE is cer_without_spaces (the default) or wer.
"""

import random
import sys
import time
from collections import Counter
from pathlib import Path

import asr
from asr import manifest, pipeline
from asr.evaluation.score import Counts, error_counts, normalise
from asr.search.phrases import Phrases
from asr.search.searchers import GreedySearcher
from benchmarks.real_search import Scored, scored

LEAST_LETTERS, UNSAID = 3, 1_500


def one_of(text: str, words_each: int, draw: random.Random) -> list[str]:
    """A phrase of the text, if it has any."""
    words = text.split()
    parts = [" ".join(words[i : i + words_each]) for i in range(len(words) - words_each + 1)]
    parts = [part for part in parts if len(part.replace(" ", "")) >= LEAST_LETTERS]
    return [draw.choice(parts)] if parts else []


def drawn(data: Scored, train: list[str]) -> tuple[list[str], list[str]]:
    """Phrases that are said and others."""
    draw, texts = random.Random(1), [normalise(u.transcript) for u, _, _ in data]
    said = dict.fromkeys(part for text in texts for words_each in (1, 2) for part in one_of(text, words_each, draw))
    spoken = " " + " ".join(texts)
    some = draw.sample(train, min(UNSAID, len(train)))
    unsaid = dict.fromkeys(p for text in some for p in one_of(text, draw.choice((1, 2)), draw) if f" {p}" not in spoken)
    return list(said), list(unsaid)


def places(text: str, phrases: list[str]) -> Counter[str]:
    """How often the words of a text begin with each phrase."""
    return Counter({phrase: n for phrase in phrases if (n := f" {text}".count(f" {phrase}"))})


def main(run: Path, dev: Path, train: Path, half: int, boosts: list[float], rate: str) -> None:
    recognizer = pipeline.open_recognizer(asr.tuned(asr.Config(out=str(run))))
    data = scored(recognizer, dev, run.resolve().name)[half::2]
    searcher = GreedySearcher(recognizer.tokens, recognizer.cfg.tokens.unit)
    said, unsaid = drawn(data, [normalise(u.transcript) for u in manifest.read(train)])
    truth = [places(normalise(u.transcript), said) for u, _, _ in data]
    print(
        f"{len(data)} utterances, {len(said)} phrases at {sum(map(Counter.total, truth))} places, {len(unsaid)} others"
    )

    def row(what: str, phrases: Phrases | None) -> None:
        start = time.thread_time()
        found = [searcher.search(log_probs, phrases).words for _, log_probs, _ in data]
        cpu = (time.thread_time() - start) / sum(seconds for _, _, seconds in data)
        texts = [" ".join(word.word for word in words) for words in found]
        errors = sum((error_counts(u.transcript, t, rate) for (u, _, _), t in zip(data, texts, strict=True)), Counts())
        heard = [places(text, said + unsaid) for text in texts]
        right = sum((h & t).total() for h, t in zip(heard, truth, strict=True))
        alarms = sum((h - t).total() for h, t in zip(heard, truth, strict=True))
        print(f"{what:22} {rate} {100 * errors.rate:.2f}  found {right}  alarms {alarms}  CPU {cpu:.5f}", flush=True)

    row("greedy", None)
    per = {"phrase": lambda phrase: 1, "word": lambda p: len(p.split()), "letter": lambda p: len(p.replace(" ", ""))}
    for what, count in per.items():
        for boost in boosts:
            row(f"{boost:g} per {what}", searcher.loop.phrases({p: boost * count(p) for p in said + unsaid}))
    for boost in boosts:
        row(f"{boost:g}, none of them said", searcher.loop.phrases(dict.fromkeys(unsaid, boost)))


if __name__ == "__main__":
    run, dev, train, half, *rest = sys.argv[1:]
    main(Path(run), Path(dev), Path(train), int(half), [float(b) for b in (rest or ["2,4,6,8"])[0].split(",")],
         (rest[1:] or ["cer_without_spaces"])[0])  # fmt: skip
