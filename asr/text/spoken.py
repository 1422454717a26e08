"""Written text as it is spoken: numbers, amounts, dates, units and abbreviations in words. No digit is left."""

import re
import unicodedata
from functools import cache

from asr.errors import InputError
from asr.text.characters import composed
from asr.text.clean import LANGUAGES
from asr.text.en import abbreviations
from asr.text.en import numbers as en_numbers
from asr.text.ko import numbers as ko_numbers

_KEPT = "²³⁄"  # the rules of the languages handle these
_FEET = re.compile(r"(?<=\d)['’′](?=\d)")  # 5'10", 37°33′20″
_OTHER_FIGURE = re.compile(rf"[^\x00-\x7f가-힣{_KEPT}]")


@cache
def _plain(character: str) -> str:
    """Digits of every script as 0-9, ½ as 1/2, ㎏ as kg, Ⅳ as IV; other characters unchanged."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    is_square = "\u3300" <= character <= "\u33ff" or character in "℃℉ℓ№％"
    if category not in ("No", "Nl") and not is_square:
        return character
    plain = unicodedata.normalize("NFKC", character).replace("⁄", "/")
    plain = "".join(str(unicodedata.digit(c, c)) for c in plain)
    return f" {plain}" if category == "No" else plain


def spoken(text: str, lang: str, latin: bool = True) -> str:
    """`text` with numbers and symbols in words. Punctuation and case stay; `clean` normalises them.

    "$5.20" -> "five dollars and twenty cents", "3시 15분" -> "세 시 십오 분". With `latin`, capital letters in Korean
    text are replaced by their names: "TV" -> "티비". Raises InputError if `lang` is not en or ko.
    """
    if lang not in LANGUAGES:
        raise InputError(f"text in language '{lang}' cannot be written out; choose one of {', '.join(LANGUAGES)}")
    text = _FEET.sub(" ", composed(text))
    if not text.isascii():
        text = _OTHER_FIGURE.sub(lambda m: _plain(m[0]), text)
    if lang == "ko":
        return ko_numbers.spoken(text, latin)
    for pattern, replace in abbreviations.RULES:
        text = pattern.sub(replace, text)
    if any(map(str.isdigit, text)):
        text = en_numbers.spoken(text)
    return text
