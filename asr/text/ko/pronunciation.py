"""Pronunciations of Korean words and phrases: 옷 한 벌 -> 오탄벌 -> `o t a N b eo L`.

A text is one breath group: the rules hold across its spaces. Digits and Latin capitals are read as
`asr.text.ko.numbers` reads them, and so are small letters without a vowel (tv). Other Latin words have no
pronunciation, since no rule of Korean tells it, and neither have letters outside syllables (ㅋㅋ).
"""

import re
from functools import lru_cache
from typing import NamedTuple

from asr.text.characters import composed, syllables
from asr.text.ko import numbers
from asr.text.ko.junctions import best, readings
from asr.text.ko.marks import marked, marked_by_tags
from asr.text.ko.phones import phones

_HANGUL = re.compile("[가-힣]+(?: [가-힣]+)*")
_LATIN = re.compile("[A-Za-z]+")
_OTHER_LETTER = re.compile(r"[^\W가-힣]")
_NO_LETTERS = re.compile(r"\W+")
_CACHED = 1 << 17  # words


class Reading(NamedTuple):
    spoken: str  # syllables
    phones: tuple[str, ...]
    probability: float


@lru_cache(_CACHED)
def spoken(text: str) -> str | None:
    """The most probable pronunciation in syllables; None for a text without one."""
    words = in_hangul(text)
    return None if words is None else best(marked(words))


def pronounce(text: str, n: int = 1, by_tags: bool = False) -> list[Reading]:
    """The `n` most probable pronunciations, the most probable one first; none for a text without one.

    `by_tags`: kiwipiepy tells verbs from nouns; raises InputError if it is not installed.
    """
    words = in_hangul(text)
    if words is None:
        return []
    with_marks = marked_by_tags(words) if by_tags else marked(words)
    return [Reading(said, phones(said), probability) for said, probability in readings(with_marks, n)]


def in_hangul(text: str) -> str | None:
    """The words of a text in Hangul between single spaces; None if it has none or if some cannot be read."""
    if _HANGUL.fullmatch(text):
        return text
    text = _LATIN.sub(_capital, syllables(composed(text)))
    words = _NO_LETTERS.sub(" ", numbers.spoken(numbers.named(text), latin=False)).strip()
    return None if not words or _OTHER_LETTER.search(words) else words


def _capital(word: re.Match[str]) -> str:
    is_name = numbers.is_known(word[0]) or not set("aeiou") & set(word[0])
    return word[0].upper() if is_name else word[0]
