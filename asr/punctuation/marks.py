"""Words, the mark after each and its case: read from well-written text to train on, and put back into text.

Marks are those that speech has: a comma, a full stop and a question mark. `;`, `:` and dashes count as commas, `!` and
`…` as full stops. Quotes and brackets are left out.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MARKS = ("", ",", ".", "?")
NONE, COMMA, FULL_STOP, QUESTION_MARK = range(4)
LOWER, CAPITAL, CAPITALS, UNKNOWN = range(4)  # UNKNOWN: a capital that only says that a sentence begins

_ENCLOSING = "\"'“”‘’`()[]{}<>《》〈〉「」『』*_|~"
_CLOSING = re.compile(r"[^\w%°$€£₩¥+#²³]+$")
_DASH = re.compile(r"\s*(?:--+|[—―])\s*|\s+[-–]\s+")
_DASHES = frozenset("-–—―")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr st mt prof rev hon gen col capt lt sgt gov sen rep messrs vs jr sr no vol fig pp etc".split()
)
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+")  # a.m., U.S., the initial J.


class Marked(NamedTuple):
    """A word without marks around it, as in the text; the mark after it; its case."""

    word: str
    mark: int
    case: int


def read(line: str) -> list[Marked]:
    """The words of a line of whole sentences: `"Yes," he said.` -> Yes with a comma, he, said with a full stop."""
    found: list[Marked] = []
    line = line.replace("’", "'")
    if _DASHES.intersection(line):
        line = _HYPHEN.sub(" ", _DASH.sub(" , ", line))
    tokens = line.split()
    for number, token in enumerate(tokens):
        is_plain = token.isalnum()
        word, mark = (token, NONE) if is_plain else _cut(token, is_last=number + 1 == len(tokens))
        if is_plain or any(map(str.isalnum, word)):
            is_start = not found or found[-1].mark in (FULL_STOP, QUESTION_MARK)
            case = case_of(word)
            found.append(Marked(word, mark, UNKNOWN if is_start and case != LOWER else case))
        elif mark and found and not found[-1].mark:
            found[-1] = found[-1]._replace(mark=mark)
    return found


def _cut(token: str, is_last: bool) -> tuple[str, int]:
    """The word within a token, and the mark after it."""
    token = token.strip(_ENCLOSING)
    if dotted := _DOTTED.match(token):
        word, rest = dotted[0], token[dotted.end() :]
        if not rest.strip(_ENCLOSING + ".,;:!?…"):
            return word if len(word) > 2 else word[0], _mark(rest) or (FULL_STOP if is_last else NONE)
    if ending := _CLOSING.search(token):
        word, rest = token[: ending.start()], ending[0]
        is_short = rest.startswith(".") and word.lower() in _ABBREVIATIONS and not is_last
        return word, _mark(rest[1:] if is_short else rest)
    return token, NONE


def _mark(ending: str) -> int:
    if "?" in ending:
        return QUESTION_MARK
    if any(mark in ending for mark in ".!…。"):
        return FULL_STOP
    return COMMA if any(mark in ending for mark in ",;:、") else NONE


def case_of(word: str) -> int:
    if word.islower():
        return LOWER
    letters = [letter for letter in word if letter.isalpha()]
    if not letters or not letters[0].isupper():
        return LOWER
    return CAPITALS if len(letters) > 1 and all(map(str.isupper, letters)) else CAPITAL


def put(
    words: Sequence[str], marks: Sequence[int], cases: Sequence[int] | None, is_start: bool = True
) -> Iterator[str]:
    """The words with their marks and capitals, the first of each sentence with a capital.

    Words that have capitals or end in a mark keep them; after abbreviations such as p.m. other marks are put. `cases`:
    None in a language without capitals. `is_start`: whether a sentence begins with the first word.
    """
    for number, (word, mark) in enumerate(zip(words, marks, strict=True)):
        written = word
        if cases and word.islower():
            if cases[number] == CAPITALS:
                written = word.upper()
            elif is_start or cases[number] == CAPITAL:
                written = word[0].upper() + word[1:]
        is_dotted = len(word) > 2 and _DOTTED.fullmatch(word) and mark != FULL_STOP
        yield written + MARKS[mark] if is_dotted or word[-1] not in ",.?!;:…。、" else written
        is_start = mark in (FULL_STOP, QUESTION_MARK)
