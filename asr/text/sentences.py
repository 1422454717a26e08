"""Splits English and Korean paragraphs into sentences."""

import re
from collections.abc import Iterator

_END = re.compile(r"[.!?…。]+[\"'”’)\]」』]*\s+")
_ENGLISH_START = re.compile(r"[\"'“‘(\[]*[A-Z0-9]")
_NO_END = re.compile(  # a period after these does not end a sentence
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Mt|Ft|Prof|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Pres|Maj|Messrs|vs|etc|[Nn]os?|[Vv]ols?|"
    r"[Ff]igs?|pp?|ch|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec|e\.g|i\.e|[ap]\.m))\.\s+$"
)
_ITEM = re.compile(r"\s*\(?\d+\.\s+")  # the sentence so far is only the number of an item
_DATE = re.compile(
    r"(?<![\d.])(?:\d{4}\.\s*\d{1,2}\.(?:\s*\d{1,2}\.)?|\d{1,2}\.\s\d{1,2}\.)\s+$"
)  # Korean: 2023. 5. 17.
_FIGURE = re.compile(r"\d{1,2}\.")


def split(text: str, lang: str) -> Iterator[str]:
    """The sentences of a paragraph.

    A period ends a sentence unless it belongs to an abbreviation, an initial, the number of an item ("1. Flour") or a
    Korean date. In English, a capital letter or a digit must follow. Only white space between sentences is removed.
    """
    start = 0
    for end in _END.finditer(text):
        is_start = lang != "en" or _ENGLISH_START.match(text, end.end())
        if is_start and not _continues(text, start, end.end(), lang):
            yield text[start : end.end()].strip()
            start = end.end()
    if text[start:].strip():
        yield text[start:].strip()


def _continues(text: str, start: int, end: int, lang: str) -> bool:
    """Whether the sentence that begins at `start` continues after the period and white space that end at `end`."""
    if _NO_END.search(text[max(start, end - 12) : end]) or _ITEM.fullmatch(text, start, end):
        return True
    tail = text[max(start, end - 24) : end]
    is_in_date = tail.rstrip()[-2:-1].isdigit() and _FIGURE.match(text, end)
    return lang == "ko" and bool(is_in_date or _DATE.search(tail))
