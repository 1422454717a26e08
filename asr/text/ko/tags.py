"""Marks that parts of speech tell, from kiwipiepy: which word is a verb and which a noun.

신을 신고 is 시늘신꼬, as 신 is the stem of a verb there; 신고를 is 신고를. Analysing takes much longer than the rules.
"""

from itertools import pairwise

from asr.text.ko.morphemes import kiwi
from asr.text.ko.syllables import parts

_STEMS = ("VV", "VA", "VX", "VC")
_NOUNS = ("NNG", "NNP", "NR", "XR", "MAG")


def joints(text: str, sino: tuple[str, str]) -> dict[int, str]:
    """Index of a character -> the mark in front of it. `sino`: the syllables of Sino-Korean words that end in ㄹ, and
    those that begin with ㄷ ㅅ ㅈ.

    Raises InputError if kiwipiepy is not installed.
    """
    tokens = kiwi().tokenize(text)
    found = {token.start: "_" for token in tokens if token.tag == "JKG"}
    for token in tokens:
        start, end = token.start, token.start + token.len
        if token.tag.startswith("E") and token.form[0] in "ᆯ을" and token.len > 1:  # -ㄹ걸, -을지라도 (27)
            found |= _tense(text, start + 1, "ㄱㄷㅂㅅㅈ")
        if token.tag in _NOUNS:  # 26
            found |= {i: "'" for i in range(start + 1, end) if _is_sino(text, i, sino)}
    for before, token in pairwise(tokens):
        is_suffix = token.tag == "XSN" and before.tag in _NOUNS
        if is_suffix and _is_sino(text, token.start, sino):
            found[token.start] = "'"
        if before.tag.startswith(_STEMS) and token.tag.startswith("E") and _last(before.form)[2] in ("ㄴ", "ㅁ"):
            found |= _tense(text, token.start, "ㄱㄷㅅㅈ")  # 24
        if before.tag == "ETM" and before.form[-1] in "ᆯ을" and token.tag.startswith("N"):
            found |= _tense(text, token.start, "ㄱㄷㅂㅅㅈ")  # 27
    return found


def _last(form: str) -> tuple[str, str, str]:
    """The letters of the last syllable of a morpheme; none if it ends in a letter of its own."""
    return parts(form[-1]) if "가" <= form[-1] <= "힣" else ("", "", "")


def _tense(text: str, at: int, initials: str) -> dict[int, str]:
    is_lenis = at < len(text) and text[at] != " " and parts(text[at])[0] in initials
    return {at: "'"} if is_lenis else {}


def _is_sino(text: str, at: int, sino: tuple[str, str]) -> bool:
    """Whether ㄹ before `at` makes it tense: not in a repeated syllable, as in 실실."""
    return text[at - 1] in sino[0] and text[at] in sino[1] and text[at] != text[at - 1]
