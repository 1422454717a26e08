"""Text <-> the units a net outputs: characters, Korean jamo, phones, or pieces of words.

`char`   each character is a unit, and so is `<space>` between words; Hangul in conjoining jamo is composed first
`jamo`   as `char`, but a Hangul syllable is split into its conjoining jamo (Unicode NFD): 한 -> ᄒ ᅡ ᆫ
`phone`  the first pronunciation of each word in a lexicon; no unit stands between words
`piece`  pieces of words (asr.pieces), in which a `Segmenter` or a lexicon spells each word
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol

from asr.errors import InputError
from asr.pieces import joined
from asr.tokens import SPACE

UNITS = ("char", "jamo", "phone", "piece")


class Pronouncer(Protocol):
    """What `to_units` needs of a lexicon. `pronounce` raises InputError for a word that it does not list."""

    def pronounce(self, word: str) -> Sequence[str]: ...


_CONJOINING_JAMO = re.compile("[가-힣]?[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]+")


def to_units(text: str, unit: str, lexicon: Pronouncer | None = None) -> list[str]:
    """The units of a text. White space between words gives one `<space>` for `char` and `jamo`, at the ends none.

    Raises InputError for an unknown `unit`, for `phone` and `piece` without a lexicon, and for a word that it lacks.
    """
    words = text.split()
    if check_unit(unit) in ("phone", "piece"):
        if lexicon is None:
            raise InputError(
                f"unit '{unit}' needs a lexicon; set tokens.lexicon to a file of 'word unit unit ...' lines"
            )
        return [phone for word in words for phone in lexicon.pronounce(word)]
    units: list[str] = []
    for word in map(_compose, words):
        units += [SPACE] if units else []
        units += _jamo(word) if unit == "jamo" else word
    return units


def to_text(units: Iterable[str], unit: str) -> str:
    """The text of units, exact up to white space for `char` and `jamo`; for `phone`, the phones separated by spaces;
    for `piece`, the words that they spell."""
    if check_unit(unit) == "phone":
        return " ".join(units)
    if unit == "piece":
        return joined(units)
    text = "".join(" " if u == SPACE else u for u in units)
    return _compose(text) if unit == "jamo" else text


def check_unit(unit: str) -> str:
    """Returns the unit. Raises InputError unless it is one of `UNITS`."""
    if unit not in UNITS:
        raise InputError(f"unknown unit '{unit}'; choose one of {', '.join(UNITS)}")
    return unit


def _jamo(word: str) -> list[str]:
    return [j for c in word for j in (unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c)]


def _compose(text: str) -> str:
    """Applies NFC to conjoining jamo and the syllable before them only; other characters stay unchanged."""
    return _CONJOINING_JAMO.sub(lambda run: unicodedata.normalize("NFC", run.group()), text)
