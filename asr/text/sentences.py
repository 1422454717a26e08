"""Paragraphs into sentences, English and Korean."""

import re
from collections.abc import Iterator

_END = re.compile(r"[.!?…。]+[\"'”’)\]」』]*\s+")
_ENGLISH_START = re.compile(r"[\"'“‘(\[]*[A-Z0-9]")
_NO_END = re.compile(  # what a period stands behind without ending a sentence
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Mt|Ft|Prof|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Pres|Maj|Messrs|vs|etc|[Nn]os?|[Vv]ols?|"
    r"[Ff]igs?|pp?|ch|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec|e\.g|i\.e|[ap]\.m)|(?:^|\s)\(?\d+)\.\s+$"
)


def split(text: str, lang: str) -> Iterator[str]:
    """The sentences of a paragraph. A period ends one unless it belongs to an abbreviation, an initial or a number;
    in English, a capital or a figure must follow. Nothing is lost but the white space between sentences.
    """
    start = 0
    for end in _END.finditer(text):
        is_start = lang != "en" or _ENGLISH_START.match(text, end.end())
        if is_start and not _NO_END.search(text[max(start, end.end() - 12) : end.end()]):
            yield text[start : end.end()].strip()
            start = end.end()
    if text[start:].strip():
        yield text[start:].strip()
