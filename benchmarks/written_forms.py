"""Written forms against truth: sentences that are right, every miss by class, and the time they take.

    python benchmarks/written_forms.py korean_dialog/manifest.jsonl

The manifest has the fields `text` (as spoken), `text_written` and `split`. English: tests/data/en_written.tsv. A
sentence is right if all characters are equal. Writes benchmarks/results/written_forms.json.
"""

import json
import re
import sys
import time
from pathlib import Path

from asr import manifest
from asr.files import atomic_write
from asr.text.written import written

RESULT = Path(__file__).parent / "results/written_forms.json"
ENGLISH = Path(__file__).parent.parent / "tests/data/en_written.tsv"
_MARKS = re.compile(r"[《》〈〉<>:/]| - ")


def korean(path: str) -> list[tuple[str, str, str, str]]:
    """(set, class, spoken, written) of each sentence; the class tells whether the two differ."""
    rows = []
    for u in manifest.read(path):
        truth = " ".join(u.extra["text_written"].split())
        said = " ".join((u.text or "").split())
        rows.append((u.extra["split"], "differ" if u.text != u.extra["text_written"] else "equal", said, truth))
    return rows


def english() -> list[tuple[str, str, str, str]]:
    """The first, third, ... pair is of the half on which the grammar was written."""
    pairs = [line.split("\t") for line in ENGLISH.read_text().splitlines()]
    return [("seen" if k % 2 == 0 else "held out", *pair) for k, pair in enumerate(pairs)]  # type: ignore[misc]


def kind_of(ours: str, truth: str) -> str:
    """A class of a miss."""
    if _MARKS.sub("", truth).replace(" ", "") == ours.replace(" ", ""):
        return "punctuation that is not spoken: titles, slashes, dashes"
    if _MARKS.search(truth):
        return "punctuation that is not spoken, and a figure in a title"
    if re.search("[A-Za-z]", truth) and not re.search("[A-Za-z]", ours):
        return "Latin letters in the truth, Hangul here"
    if re.search("[A-Za-z]", truth):
        return "Latin letters, spelled otherwise"
    return "a figure in one of them, a word in the other"


def measure(rows: list[tuple[str, str, str, str]], lang: str) -> dict:
    results: dict = {"sets": {}, "misses": []}
    for part in dict.fromkeys(row[0] for row in rows):
        for which in ("differ", "equal") if lang == "ko" else ("all",):
            chosen = [row for row in rows if row[0] == part and which in ("all", row[1])]
            found = [(said, written(said, lang), truth) for _, _, said, truth in chosen]
            missed = [one for one in found if one[1] != one[2]]
            unique = {(said, truth) for said, _, truth in found}
            results["sets"][f"{part}, {which}"] = {
                "count": len(found), "right": len(found) - len(missed), "different": len(unique),
                "different_right": len(unique) - len({(said, truth) for said, _, truth in missed}),
            }  # fmt: skip
            results["misses"] += [
                {"set": f"{part}, {which}", "class": kind_of(ours, truth), "spoken": said, "ours": ours, "truth": truth}
                for said, ours, truth in dict.fromkeys(missed)
            ]
    return results


def main(path: str) -> None:
    results = {}
    for lang, rows in (("ko", korean(path)), ("en", english())):
        begun = time.process_time()
        written("a", lang)  # compiles the grammar
        compiled_s, begun = time.process_time() - begun, time.process_time()
        found = measure(rows, lang)
        speed = 20e3 * (time.process_time() - begun) / sum(len(said.split()) for _, _, said, _ in rows)
        results[lang] = found | {"compile_cpu_s": round(compiled_s, 2), "cpu_ms_per_20_words": round(speed, 2)}
        print(f"{lang}: compiled in {compiled_s:.1f} CPU s; {results[lang]['cpu_ms_per_20_words']} CPU ms per 20 words")
        for name, r in results[lang]["sets"].items():
            print(f"{name:18} {r['right']:4} of {r['count']:4}; different sentences {r['different_right']:4} of "
                  f"{r['different']:4}")  # fmt: skip
        for miss in results[lang]["misses"]:
            print(f"  {miss['set']} | {miss['class']}\n    {miss['spoken']}\n    {miss['ours']}\n    {miss['truth']}")
    with atomic_write(RESULT) as file:
        json.dump(results, file, indent=1, ensure_ascii=False)
    print(f"-> {RESULT}")


if __name__ == "__main__":
    main(*sys.argv[1:])
