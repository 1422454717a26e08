"""Punctuation and capitals: F1 per mark on text kept out of the training, beside a baseline, and words per second.

    python benchmarks/punctuation.py en|ko LINES NAME=TEXT ...

LINES lines are one text. Manifests count with their `text_written`, one utterance per text. The baseline puts a full
stop at the end of each text. Writes benchmarks/results/punctuation_LANG_LINES.json.
"""

import json
import sys
import time
from pathlib import Path

from asr import manifest
from asr.files import atomic_write
from asr.punctuation.file import trained
from asr.punctuation.marks import Marked, read
from asr.punctuation.scores import baseline, score
from asr.punctuation.training import texts_of

RESULTS = Path(__file__).parent / "results"


def texts(path: str, num_lines: int) -> list[list[Marked]]:
    if manifest.is_manifest(path):
        return list({u.extra["text_written"]: read(u.extra["text_written"]) for u in manifest.read(path)}.values())
    return list(texts_of([path], num_lines))


def main(lang: str, num_lines: int, sources: list[str]) -> None:
    tagger, results = trained(lang), {}
    for name, path in (source.split("=", 1) for source in sources):
        found = texts(path, num_lines)
        words = [[word.word.lower() for word in text] for text in found]
        begun = time.process_time()
        for text in words:
            tagger.punctuated(text)
        speed = sum(map(len, words)) / (time.process_time() - begun)
        rows = {}
        for kind, tags in (("net", tagger.tags), ("baseline", baseline)):
            rows[kind] = {mark: [round(100 * x, 1) for x in (s.precision, s.recall, s.f1)] + [s.true]
                          for mark, s in score(found, tags, tagger.has_cases).items()}  # fmt: skip
        results[name] = {"texts": len(found), "words": sum(map(len, words)), "words_per_cpu_s": round(speed)} | rows
        cells = [f"{p} / {r} / {f1} ({rows['baseline'][mark][2]})" for mark, (p, r, f1, _) in rows["net"].items()]
        print(f"| {name} | {results[name]['words']:,} | {' | '.join(cells)} | {speed:,.0f} words per CPU s")
    with atomic_write(RESULTS / f"punctuation_{lang}_{num_lines}.json") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
