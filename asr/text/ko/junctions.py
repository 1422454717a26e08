"""The cascade of `asr.text.ko.rules` as tables, for speed.

What a rule does depends on a coda, the mark behind it, and the next initial and vowel. The cascade is applied once to
all such junctions with one mark; then a text is pronounced with one table look-up per syllable. The tests compare the
tables with the cascade.
"""

import math
from functools import cache
from typing import Any

import pynini

from asr.text.ko import rules
from asr.text.ko.syllables import COUNT, FIRST, NUM_CODAS, NUM_OPEN, VOWELS

START, END = "^start", "^end"  # in place of a mark
Result = tuple[int, int, float]  # coda, next syllable without its coda, probability
_NUM_VOWELS = len(VOWELS)


def best(marked: str) -> str:
    """The most probable pronunciation of a marked text, in syllables."""
    unmarked, results = _best(""), _best(START)
    spoken, coda, syllable = "", 0, 0
    for character in marked:
        if character in rules.MARKS:
            results = _best(character)
            continue
        code = ord(character) - FIRST
        said, following = results[coda * NUM_OPEN + code // NUM_CODAS]
        if syllable:
            spoken += chr(syllable + said)
        coda, results, syllable = code % NUM_CODAS, unmarked, following
    return spoken + chr(syllable + _best(END)[coda][0]) if syllable else ""


def readings(marked: str, n: int) -> list[tuple[str, float]]:
    """The `n` most probable pronunciations of a marked text in syllables, and their probabilities."""
    paths = {("", 0): 1.0}  # spoken syllables and the next one without its coda: probability
    coda, mark = 0, START
    for character in marked:
        if character in rules.MARKS:
            mark = character
            continue
        syllable, next_coda = divmod(ord(character) - FIRST, NUM_CODAS)
        paths = _extended(paths, table(mark)[coda * NUM_OPEN + syllable], n, mark == START)
        coda, mark = next_coda, ""
    paths = _extended(paths, table(END)[coda], n)
    return [(text, probability) for (text, _), probability in paths.items()]


def _extended(
    paths: dict[tuple[str, int], float], results: tuple[Result, ...], n: int, is_start: bool = False
) -> dict[tuple[str, int], float]:
    """The `n` most probable paths longer by a syllable, the most probable one first. Results do not depend on the path,
    so the `n` best of a text begin with the `n` best of its beginning."""
    extended = {
        (text if is_start else text + chr(FIRST + syllable * NUM_CODAS + coda), following): p * q
        for (text, syllable), p in paths.items()
        for coda, following, q in results
    }
    return dict(sorted(extended.items(), key=lambda item: -item[1])[:n])


@cache
def _best(mark: str) -> list[tuple[int, int]]:
    """The first result of each junction: coda, and the code point of the next syllable without its coda."""
    return [(results[0][0], FIRST + results[0][1] * NUM_CODAS) for results in table(mark)]


@cache
def table(mark: str) -> list[tuple[Result, ...]]:
    """The results at a mark, at index `coda * NUM_OPEN + syllable without coda`; at END, at index `coda`."""
    size = {START: NUM_OPEN, END: NUM_CODAS}.get(mark, COUNT)
    found: list[dict[tuple[int, int], float]] = [{} for _ in range(size)]
    with pynini.default_token_type("utf8"):
        paths = rules.apply(_junctions(mark)).paths()
        for written, spoken, cost in paths.items():
            at, result = _index(written, mark), _result(spoken, mark)
            found[at][result] = found[at].get(result, 0.0) + math.exp(-float(cost))
    ordered = [sorted(results.items(), key=lambda item: -item[1]) for results in found]
    return [tuple((*result, round(p, 6)) for result, p in results) for results in ordered]


def _junctions(mark: str) -> Any:
    """All codas, `mark`, and all open syllables. A vowel stands in front, as no rule asks which."""
    initials = pynini.union(*(chr(0x1100 + i) for i in range(NUM_OPEN // _NUM_VOWELS)))
    syllable: Any = initials + pynini.union(*(chr(0x1161 + i) for i in range(_NUM_VOWELS)))
    if mark == START:
        return syllable.optimize()
    left: Any = "ᅡ" + pynini.union("", *(chr(0x11A7 + i) for i in range(1, NUM_CODAS)))
    return (left if mark == END else left + pynini.escape(mark) + syllable).optimize()


def _index(written: str, mark: str) -> int:
    coda, syllable = _result(written.replace(mark, "") if mark in rules.MARKS else written, mark)
    return coda if mark == END else coda * NUM_OPEN + syllable


def _result(jamo: str, mark: str) -> tuple[int, int]:
    """The coda and the number of the open syllable in `ᅡ coda initial vowel`."""
    jamo = jamo if mark == START else jamo[1:]
    coda = ord(jamo[0]) - 0x11A7 if jamo and jamo[0] >= "ᆨ" else 0
    rest = jamo[1:] if coda else jamo
    return coda, (ord(rest[0]) - 0x1100) * _NUM_VOWELS + ord(rest[1]) - 0x1161 if rest else 0
