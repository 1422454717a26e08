"""The form of transcripts: as `asr text clean` writes text, with remarks about what is not written as it is spoken."""

import re
import unicodedata
from dataclasses import dataclass

from asr.text.clean import LANGUAGES, clean
from asr.text.cleaning import ALPHABETS
from asr.text.spoken import spoken

_OUTSIDE = {lang: re.compile(f"[^ 0-9.{letters}]") for lang, letters in ALPHABETS.items()}
_FIGURE = re.compile(r"\d")


@dataclass(frozen=True)
class Checked:
    """`text`: in normal form. `spoken`: with its numbers in words, if it has some. `unknown`: characters outside the
    alphabet of its language, each once."""

    text: str
    spoken: str | None
    unknown: str


def normal(text: str, lang: str | None, cleans: bool = True) -> str:
    """Lower case without punctuation if `cleans` and the language is known.

    In any case Unicode's form C without control characters, with one space between words.
    """
    if cleans and lang in LANGUAGES:
        return clean(text, lang)
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def checked(text: str, lang: str | None, cleans: bool = True) -> Checked:
    """A transcript as it would be kept. Nothing is refused."""
    found = normal(text, lang, cleans)
    if lang not in LANGUAGES:
        return Checked(found, None, "")
    # Symbols such as $ belong to numbers, and are gone after `clean`.
    said = normal(spoken(text, lang), lang, cleans) if _FIGURE.search(found) else None
    unknown = dict.fromkeys(_OUTSIDE[lang].findall(clean(found, lang)))
    return Checked(found, said if said != found else None, "".join(unknown))
