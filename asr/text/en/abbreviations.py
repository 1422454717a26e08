"""English abbreviations, Roman numerals and symbols written out: "Dr. Hale & Henry VIII" -> "doctor Hale and Henry the
eighth". Ambiguous forms change only if their neighbours decide the meaning; "I", "No." or "in." alone stay.
"""

import re
from collections.abc import Callable

from asr.text.en.numbers import cardinal, ordinal

_ALWAYS = {
    "mr": "mister", "mrs": "missus", "vs": "versus", "etc": "et cetera", "e.g": "for example", "i.e": "that is",
}  # fmt: skip
_TITLES = {  # before a name
    "Dr": "doctor", "St": "saint", "Mt": "mount", "Ft": "fort", "Prof": "professor", "Rev": "reverend",
    "Hon": "honorable",
    "Gen": "general", "Col": "colonel", "Capt": "captain", "Lt": "lieutenant", "Sgt": "sergeant", "Gov": "governor",
    "Sen": "senator", "Rep": "representative", "Pres": "president", "Maj": "major", "Adm": "admiral", "Cpl": "corporal",
    "Messrs": "messers", "Supt": "superintendent",
}  # fmt: skip
_AFTER_NAMES = {
    "Jr": "junior", "Sr": "senior", "Co": "company", "Inc": "incorporated", "Ltd": "limited", "Corp": "corporation",
    "Bros": "brothers", "St": "street", "Ave": "avenue", "Blvd": "boulevard", "Rd": "road", "Dr": "drive",
    "Esq": "esquire",
}  # fmt: skip
_BEFORE_DIGITS = {
    "vol": "volume", "vols": "volumes", "p": "page", "pp": "pages", "ch": "chapter", "fig": "figure", "figs": "figures",
    "sec": "section", "art": "article",
}  # fmt: skip
_MONTHS = {
    "Jan": "January", "Feb": "February", "Mar": "March", "Apr": "April", "Jun": "June", "Jul": "July", "Aug": "August",
    "Sept": "September", "Sep": "September", "Oct": "October", "Nov": "November", "Dec": "December",
}  # fmt: skip
_COUNTED = (
    "Chapter Part Act Scene Volume Book Section Phase Type Class Title Article Appendix Episode Stage Level Division "
    "Figure Table"
).split()
_NAMES = (
    "Henry Louis George Edward Charles James William Richard Elizabeth Mary John Paul Pius Napoleon Philip "
    "Frederick Leo "
    "Benedict Gregory Clement Innocent Alexander Nicholas Peter Catherine Ferdinand Francis Otto Christian Gustav "
    "Leopold "
    "Ptolemy Sixtus Urban Julius Boniface Margrethe Juan Carlos Wilhelm Friedrich Umberto Victor Emmanuel"
).split()
_SAINT = re.compile(
    "(?:Andrew|Anthony|Augustine|Bernard|Charles|Clair|Cloud|Edmund|Francis|George|Helen|James|John|Joseph|Kitts|Lawrence|"
    "Louis|Lucia|Margaret|Martin|Mary|Michael|Nicholas|Patrick|Paul|Peter|Petersburg|Stephen|Thomas|Vincent)"
)
_ROMAN = r"(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[IVXLC])\b"  # to 89
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}


def roman(numeral: str) -> int:
    """XIV -> 14: a smaller numeral before a larger one is subtracted."""
    values = [_VALUES[letter] for letter in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


def _any(words: dict[str, str] | list[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


RULES: list[tuple[re.Pattern[str], Callable[[re.Match], str]]] = [
    (
        re.compile(rf"(?<![^\W\d_²³])({_any(_ALWAYS)})(?![^\W\d_²³])\.?", re.IGNORECASE),
        lambda m: _ALWAYS.get(m[1].lower(), m[0]),
    ),
    (re.compile(rf"\b({_any(_TITLES)})\.?\s+(?=[A-Z])"), lambda m: _title(m)),
    (re.compile(rf"(?<=\w )({_any(_AFTER_NAMES)})\.(?!\w)|(?<=\w, )(Jr|Sr|Inc|Ltd|Esq)\."), lambda m: _after_name(m)),
    (
        re.compile(
            rf"\b({_any([form for short in _BEFORE_DIGITS for form in (short, short.capitalize())])})\.\s?(?=\d)"
        ),
        lambda m: f"{_BEFORE_DIGITS[m[1].lower()]} ",
    ),
    (
        re.compile(rf"\b({_any([form for short in _MONTHS for form in (short, short.upper())])})(?:\.\s?|\s)(?=\d)"),
        lambda m: f"{_MONTHS[m[1].capitalize()]} ",
    ),
    (
        re.compile(rf"\b({_any(_COUNTED)}|World War|Super Bowl)\s({_ROMAN})"),
        lambda m: f"{m[1]} {cardinal(roman(m[2]))}",
    ),
    (re.compile(rf"\b({_any(_NAMES)})\s(?![ILC]\b|[VX]\.)({_ROMAN})"), lambda m: f"{m[1]} the {ordinal(roman(m[2]))}"),
    (re.compile(r"\s?&\s?"), lambda m: " and "),
    (re.compile(r"(?<=\w)@(?=\w)"), lambda m: " at "),
]


def _title(match: re.Match) -> str:
    """A title before a name. "St" after a name is a street ("Main St. Then") unless a known saint follows ("Bury St.
    Edmunds")."""
    text = match.string
    is_street = (
        match[1] == "St"
        and re.search(r"[A-Z]\w+ $", text[max(match.start() - 30, 0) : match.start()])
        and not _SAINT.match(text, match.end())
    )
    return match[0] if is_street else f"{_TITLES[match[1]]} "


def _after_name(match: re.Match) -> str:
    """Only after a name: "Ford Jr.", "Elm St.", but not "the co." or "she saw Dr."."""
    word = match[1] or match[2]
    is_after_name = re.search(r"(?:[A-Z]\w*|\d\w*),? $", match.string[max(match.start() - 30, 0) : match.start()])
    return _AFTER_NAMES[word] if is_after_name else match[0]
