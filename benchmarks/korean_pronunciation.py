"""Korean pronunciation: speed, the regulation's examples by source, and agreement with g2pkk.

    python benchmarks/korean_pronunciation.py speed TEXT.xz ...
    python benchmarks/korean_pronunciation.py sources
    python benchmarks/korean_pronunciation.py peer TEXT.xz ...     (pip install g2pkk python-mecab-ko nltk)

`peer` takes 10,000 different words of the texts at random, and names the reason of each difference: the mark without
which our reading is the peer's, or the letters in which they differ.
"""

import collections
import importlib.util  # noqa: F401  # which g2pkk uses without importing it
import random
import re
import sys
import time
from pathlib import Path

from asr.lm.texts import sentences
from asr.text.clean import clean
from asr.text.ko import junctions, marks, rules
from asr.text.ko.joints import Joints
from asr.text.ko.pronunciation import pronounce, spoken

GOLD = Path(__file__).parent.parent / "tests" / "data" / "ko_pronunciation.tsv"


def texts(paths: list[str], most: int = 20_000) -> list[str]:
    """Words of Hangul, in the order of the texts."""
    found: list[str] = []
    for path in paths:
        lines = (line for _, line in zip(range(most), sentences([path]), strict=False))
        found += [w for line in lines for w in clean(line, "ko").split() if re.fullmatch("[가-힣]{1,8}", w)]
    return found


def speed(words: list[str]) -> None:
    spoken("가")
    for mark in ("", *rules.MARKS):
        junctions.best(f"각{mark}각")
    different = list(dict.fromkeys(words))
    marked = [marks.marked(word) for word in different]
    sample = random.Random(0).sample(different, 300)
    spoken.cache_clear()
    for name, do, over in (
        ("running text", spoken, words),
        ("different words", spoken.__wrapped__, different),
        ("of these, the tables", junctions.best, marked),
        ("the cascade", rules.rewrite, sample),
    ):
        start = time.process_time()
        for word in over:
            do(word)
        print(f"{name:22} {len(over) / (time.process_time() - start):12,.0f} words a CPU second")


def sources() -> None:
    """How many of the examples are right by the cascade alone, with classes, with the list."""
    gold = [line.split("\t") for line in GOLD.read_text("utf-8").splitlines() if not line.startswith("#")]
    right = collections.defaultdict(collections.Counter)
    listed, respelled, usual = marks._entries, marks._RESPELLED, marks._USUAL
    for name in ("cascade", "classes", "list"):
        marks._entries = listed if name == "list" else dict  # type: ignore[assignment]
        marks._RESPELLED = re.compile("(?!)") if name == "cascade" else respelled
        marks._USUAL = Joints((), ()) if name == "cascade" else usual
        for article, written, said in gold:
            readings = [reading.spoken for reading in pronounce(written, 16)]
            permitted = said.split("/")
            right[int(article.split(".")[0])][name] += readings[0] == permitted[0] and {*permitted} <= {*readings}
    total = collections.Counter(int(article.split(".")[0]) for article, *_ in gold)
    print("| article | examples | by the cascade | by classes | by the list |\n|---|---|---|---|---|")
    for article, counts in sorted(right.items()):
        print(f"| {article} | {total[article]} | {_steps(counts)} |")
    print(f"| all | {len(gold)} | {_steps(sum(right.values(), collections.Counter()))} |")


def _steps(counts: collections.Counter) -> str:
    cascade, classes, all_ = counts["cascade"], counts["classes"], counts["list"]
    return f"{cascade} | {classes - cascade} | {all_ - classes}"


def peer(words: list[str]) -> None:
    re._MAXCACHE = 100_000  # type: ignore[attr-defined]  # the peer compiles its hundreds of patterns for each word
    from g2pkk import G2p

    theirs_of = G2p()
    sample = random.Random(1).sample(list(dict.fromkeys(words)), 10_000)
    equal, among, reasons, examples = 0, 0, collections.Counter(), collections.defaultdict(list)
    for word in sample:
        ours, theirs = [reading.spoken for reading in pronounce(word, 16)], theirs_of(word)
        equal += ours[0] == theirs
        among += theirs in ours
        if theirs not in ours:
            reason = _reason(word, ours[0], theirs)
            reasons[reason] += 1
            examples[reason].append(f"{word} {ours[0]} / {theirs}")
    print(f"{equal} of {len(sample)} equal, {among} among our variants")
    for reason, count in reasons.most_common():
        print(f"{count:5} {reason:50} {'; '.join(examples[reason][:4])}")


def _reason(word: str, ours: str, theirs: str) -> str:
    marked = marks.marked(word)
    for mark in dict.fromkeys(c for c in marked if c in rules.MARKS):
        if theirs in dict(junctions.readings(marked.replace(mark, ""), 16)):
            return f"mark {mark}"
    letters = "[죠조쬬쪼져저쳐처쪄쩌쥬주]"
    is_glide = re.sub(letters, "*", ours) == re.sub(letters, "*", theirs)
    return "ㅈ ㅉ ㅊ before a glide (5)" if is_glide else "other"


if __name__ == "__main__":
    verb, paths = sys.argv[1], sys.argv[2:]
    sources() if verb == "sources" else {"speed": speed, "peer": peer}[verb](texts(paths))
