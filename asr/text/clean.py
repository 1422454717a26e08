"""Basic normalisation of English and Korean text: the result is words between single spaces.

Numbers stay digits. `asr.text.spoken.spoken` writes them out first if the text is to be as it is spoken.
"""

import re
import unicodedata

from asr.errors import InputError
from asr.text.characters import APOSTROPHES, composed

LANGUAGES = ("en", "ko")
_LETTER = r"[^\W\d_]"
_EDGE_APOSTROPHE = re.compile(rf"(?<!{_LETTER})'|'(?!{_LETTER})")
_EDGE_APOSTROPHE_KO = re.compile(r"(?<![a-z])'|'(?![a-z])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NOT_DECIMAL = re.compile(r",|(?<!\d)\.|\.(?!\d)")


class _Table(dict[int, str]):
    """For str.translate: maps a character by its Unicode category, looked up on first use."""

    def __init__(self, quote: str):
        super().__init__({ord(c): "'" for c in APOSTROPHES} | {ord(c): c for c in ".,"})
        self.quote = quote  # replacement of quotation marks

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cf":  # soft hyphen, zero-width space, direction marks
            self[code] = ""
        elif category in ("Pi", "Pf") or character == '"':
            self[code] = self.quote
        elif category in ("Nd", "No", "Nl"):
            self[code] = _figures(character)
        else:
            self[code] = " " if category[0] in "PSZC" else character
        return self[code]


# Korean particles directly follow a closing quotation mark: "사랑"이라는.
_TABLES = {"en": _Table(quote=" "), "ko": _Table(quote="")}


def _figures(character: str) -> str:
    """Digits of every script as 0-9; ² as 2, ½ as 1 2 and Ⅳ as IV, apart from what is before."""
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    plain = unicodedata.normalize("NFKC", character)
    return " " + "".join(c if c.isalnum() and c.isascii() else " " for c in plain)


def clean(text: str, lang: str) -> str:
    """`text` with one character per letter (`composed`), in lower case, without punctuation and symbols.

    Apostrophes inside words (in Korean text: between Latin letters) and points inside numbers stay. Commas between
    thousands are removed. Cleaning clean text changes nothing. Raises InputError if `lang` is not en or ko.
    """
    if lang not in LANGUAGES:
        raise InputError(f"text in language '{lang}' cannot be cleaned; choose one of {', '.join(LANGUAGES)}")
    text = composed(text).translate(_TABLES[lang]).lower().replace("i\u0307", "i")  # of İ, in lower case
    text = unicodedata.normalize("NFC", text)
    text = _EDGE_APOSTROPHE_KO.sub("", text) if lang == "ko" else _EDGE_APOSTROPHE.sub(" ", text)
    text = _NOT_DECIMAL.sub(" ", _THOUSANDS.sub("", text))
    return " ".join(unicodedata.normalize("NFC", text).split())
