"""Spoken words as they are written: numbers, dates, times, amounts, units, letters. The opposite of `spoken`.

Grammars (asr/text/en/written.py, asr/text/ko/written.py) are compiled at first use, in about a second, and kept.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from asr.errors import InputError
from asr.text.clean import LANGUAGES

if TYPE_CHECKING:
    import pynini

SPAN_WORDS = 200  # rewritten at once, so that memory does not grow with the text


def written(text: str, lang: str) -> str:
    """`text`, words between spaces, as it is written: "five dollars" -> "$5", "세 시 십오 분" -> "3시 15분".

    Whitespace becomes single spaces. Words that no grammar rewrites stay as they are. Raises InputError if `lang` is
    not en or ko.
    """
    return " ".join(form for _, form in spans(text.split(), lang))


def spans(words: Sequence[str], lang: str) -> list[tuple[int, str]]:
    """What is written for `words`: (how many of them, one written word), in order. The numbers add up to all."""
    if lang not in LANGUAGES:
        raise InputError(f"there are no written forms for the language '{lang}'; choose one of {', '.join(LANGUAGES)}")
    found: list[tuple[int, str]] = []
    for first in range(0, len(words), SPAN_WORDS):
        found += _rewritten(words[first : first + SPAN_WORDS], lang)
    return found


def _rewritten(words: Sequence[str], lang: str) -> Iterator[tuple[int, str]]:
    from asr.text.rewriting import rewritten

    at = 0
    for count, form in rewritten(" ".join(words).lower(), _grammar(lang)):
        is_same = count == 1 and form == words[at].lower()
        yield count, words[at] if is_same else form
        at += count


@cache
def _grammar(lang: str) -> "pynini.Fst":
    if lang == "ko":
        from asr.text.ko import written
    else:
        from asr.text.en import written  # type: ignore[no-redef]
    return written.grammar()
