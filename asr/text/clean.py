"""Basic normalisation of English and Korean text: the result is words between single spaces.

Numbers stay digits. `asr.text.spoken.spoken` writes them out first if the text is to be as it is spoken.
"""

import re
import unicodedata

from asr.errors import InputError

LANGUAGES = ("en", "ko")
_WIDE = re.compile("[\uff00-\uffef]+")  # full-width Latin, half-width Hangul
_APOSTROPHES = "'’ʼ"
_LETTER = r"[^\W\d_]"
_EDGE_APOSTROPHE = re.compile(rf"(?<!{_LETTER})'|'(?!{_LETTER})")
_EDGE_APOSTROPHE_KO = re.compile(r"(?<![a-z])'|'(?![a-z])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NOT_DECIMAL = re.compile(r",|(?<!\d)\.|\.(?!\d)")


class _Table(dict[int, str]):
    """For str.translate: maps a character by its Unicode category, looked up on first use."""

    def __init__(self, quote: str):
        super().__init__({ord(c): "'" for c in _APOSTROPHES} | {ord(c): c for c in ".,"})
        self.quote = quote  # replacement of quotation marks

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cf":  # soft hyphen, zero-width space, direction marks
            self[code] = ""
        elif category in ("Pi", "Pf") or character == '"':
            self[code] = self.quote
        else:
            self[code] = " " if category[0] in "PSZC" else character
        return self[code]


# Korean particles directly follow a closing quotation mark: "사랑"이라는.
_TABLES = {"en": _Table(quote=" "), "ko": _Table(quote="")}


def composed(text: str) -> str:
    """`text` in Unicode NFC, with full-width Latin and half-width Hangul in normal width."""
    return unicodedata.normalize("NFC", _WIDE.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text))


def clean(text: str, lang: str) -> str:
    """`text` in Unicode NFC, normal width and lower case, without punctuation and symbols.

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
