"""Text <-> the units a net outputs: characters, Korean jamo, or phones.

`char`   every character is a unit, the gap between words is `<space>`
`jamo`   as `char`, but a Hangul syllable falls apart into its conjoining jamo (Unicode NFD): 한 -> ᄒ ᅡ ᆫ
`phone`  the first pronunciation of each word in a lexicon; gaps leave no unit
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol

from asr.errors import InputError
from asr.tokens import SPACE

UNITS = ("char", "jamo", "phone")


class Pronouncer(Protocol):
    """A lexicon, as `to_units` needs it. `pronounce` raises InputError for a word that it lacks."""

    def pronounce(self, word: str) -> Sequence[str]: ...


_CONJOINING_JAMO = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]+")


def to_units(text: str, unit: str, lexicon: Pronouncer | None = None) -> list[str]:
    """Units of a text; runs of white space count as one gap, those at the ends as none.

    Raises InputError for an unknown `unit`, for `phone` without a lexicon, and for a word the lexicon lacks.
    """
    words = text.split()
    if check_unit(unit) == "phone":
        if lexicon is None:
            raise InputError("unit 'phone' needs a lexicon; set tokens.lexicon to a file of 'word unit unit ...' lines")
        return [phone for word in words for phone in lexicon.pronounce(word)]
    units: list[str] = []
    for word in words:
        units += [SPACE] if units else []
        units += _jamo(word) if unit == "jamo" else word
    return units


def to_text(units: Iterable[str], unit: str) -> str:
    """The text of units: exact for `char` and `jamo` (up to white space); for `phone`, phones between spaces."""
    if check_unit(unit) == "phone":
        return " ".join(units)
    text = "".join(" " if u == SPACE else u for u in units)
    return _compose(text) if unit == "jamo" else text


def check_unit(unit: str) -> str:
    if unit not in UNITS:
        raise InputError(f"unknown unit '{unit}'; choose one of {', '.join(UNITS)}")
    return unit


def _jamo(word: str) -> list[str]:
    return [j for c in word for j in (unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c)]


def _compose(text: str) -> str:
    """NFC on runs of conjoining jamo alone, so that other characters stay as they came."""
    return _CONJOINING_JAMO.sub(lambda run: unicodedata.normalize("NFC", run.group()), text)
