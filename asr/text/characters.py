"""One character per letter, whatever typesetting, fonts, keyboards and old encodings write for it.

    ﬁ ſ ª 𝐀 ⼈ ﻻ      ligatures, long s, ordinals, letters of formulas, radicals: their plain letters (NFKC)
    Ａ １ ｶﾞ ﾾￂﾤ        full and half width: normal width, Hangul in syllables
    don´t don`t don′t   what stands for an apostrophe between letters: '
    ‐ ‑ ㆍ ・            hyphens: -, and middle dots: ·, also the letter arae-a, which Korean keyboards write for it
    ᄒ (alone)           conjoining jamo outside a syllable: ㅎ
    fillers, variation selectors, enclosing marks: removed, as they are invisible without the letter that they change

Digits and symbols stay, since numbers in words depend on them.
"""

import re
import unicodedata

# Grave, acute, prime, quotation marks, glottal stops, Armenian, Hebrew and NKo marks, saltillo, ornaments, and the
# quotes of Windows-1252 that were taken for Latin-1; in full width after NFKC.
APOSTROPHES = "\x91\x92\u07f4\u07f5\u275b\u275c'`´‘’‛′‵ʹʻʼʽʾʿˈˊˋ΄᾽᾿῾ʹ՚׳Ꞌꞌ"
_BETWEEN_LETTERS = re.compile(rf"(?<=[^\W\d_])[{APOSTROPHES}](?=[^\W\d_])")
_WIDE = re.compile("[\uff00-\uff9f\uffe0-\uffef]+")
_HALF_HANGUL = re.compile("[\uffa0-\uffdc]+")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u3164\uffa0\u17b4\u17b5")
_KEPT = frozenset("ℓ")  # liter, a unit of measurement
_FIRST = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"  # U+1100 and on
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"  # U+1161 and on
_LAST = "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"  # U+11A8 and on
_SYLLABLE = re.compile(f"([{_FIRST}])([{_VOWELS}])(?:([{_LAST}])(?![{_VOWELS}]))?")
_JAMO_RUN = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]+")
_MODERN = (
    {chr(0x1100 + i): letter for i, letter in enumerate(_FIRST)}
    | {chr(0x1161 + i): letter for i, letter in enumerate(_VOWELS)}
    | {chr(0x11A8 + i): letter for i, letter in enumerate(_LAST)}
)


class _Letters(dict[int, str]):
    """For str.translate: the plain form of each character, found on first use."""

    def __missing__(self, code: int) -> str:
        self[code] = plain = _plain(chr(code))
        return plain


_PLAIN = _Letters({ord(c): "-" for c in "‐‑"} | {ord(c): "·" for c in "ㆍ・‧∙⋅"})


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if character in _INVISIBLE or category == "Me" or unicodedata.name(character, "").startswith("VARIATION SELECTOR"):
        return ""
    is_radical = "\u2e80" <= character <= "\u2fd5"
    if (category[0] != "L" and not is_radical) or character in _KEPT or "\u3131" <= character <= "\u318e":
        return character
    folded = unicodedata.normalize("NFKC", character)
    return folded if all(unicodedata.category(c)[0] in "LM" for c in folded) else character


def composed(text: str) -> str:
    """`text` in Unicode NFC with one character per letter, as described above. Applying it again changes nothing."""
    if text.isascii() and "`" not in text:
        return text
    text = _WIDE.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)
    text = _HALF_HANGUL.sub(_syllables, text)
    text = unicodedata.normalize("NFC", text.translate(_PLAIN))
    text = _JAMO_RUN.sub(_alone, text)
    return _BETWEEN_LETTERS.sub("'", text)


def _syllables(run: re.Match[str]) -> str:
    """Half-width Hangul, a letter at a time, in syllables."""
    letters = "".join(chr(int(unicodedata.decomposition(c).split()[-1], 16)) if unicodedata.decomposition(c) else ""
                      for c in run[0] if c not in _INVISIBLE)  # fmt: skip
    return syllables(letters)


def _syllable(letters: re.Match[str]) -> str:
    last = _LAST.index(letters[3]) + 1 if letters[3] else 0
    return chr(0xAC00 + (_FIRST.index(letters[1]) * 21 + _VOWELS.index(letters[2])) * 28 + last)


def _alone(run: re.Match[str]) -> str:
    """Modern jamo outside a syllable, as letters of their own; a run with archaic jamo is a syllable and stays."""
    if run[0] == "\u119e":  # arae-a
        return "·"
    return "".join(_MODERN[c] for c in run[0]) if all(c in _MODERN for c in run[0]) else run[0]


def syllables(text: str) -> str:
    """Letters of their own that spell syllables, as syllables: ㅎㅏㄴ -> 한. Others stay: ㅋㅋ."""
    return _SYLLABLE.sub(_syllable, text)


def is_mojibake(text: str) -> bool:
    """Whether the text was decoded in a wrong encoding: UTF-8 or CP949 as a Western one, or with lost characters."""
    if text.isascii():
        return False
    if "\ufffd" in text:
        return True
    for encoding in ("cp1252", "latin-1"):
        try:
            raw = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        for other in ("utf-8", "cp949"):
            try:
                again = raw.decode(other)
            except UnicodeDecodeError:
                continue
            if other == "utf-8" or re.search("[가-힣]{3}", again):
                return True
    return bool(re.search("â€[™œ\u009d“”¦˜\u0080-\u009f]|Ã[\u00a0-\u00bf]|ï»¿", text))
