"""Grammars of English numbers, from words to figures: two hundred five -> 205, nineteen eighty four -> 1984."""

import pynini

from asr.text.en.numbers import cardinal, ordinal
from asr.text.rewriting import JOINED, SPACE, left_out, mapped, maybe, words, written_as

_ONES = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
FIGURE = words("0123456789")
DIGIT = mapped((name, str(n)) for n, name in enumerate(_ONES, 1))
CODE_DIGIT = (DIGIT | mapped([("zero", "0"), ("oh", "0"), ("o", "0")])).optimize()
_JOINT = JOINED | left_out("-")
_AND = JOINED + maybe(left_out("and ")) | left_out("-")
TWO_FIGURES = (  # 10 to 99
    mapped((name, str(n)) for n, name in enumerate(_TEENS, 10))
    | mapped((name, str(n)) for n, name in enumerate(_TENS, 2)) + (_JOINT + DIGIT | written_as("0"))
).optimize()
_BELOW_100 = (TWO_FIGURES | written_as("0") + DIGIT).optimize()  # twenty one -> 21, five -> 05
_HUNDREDS = DIGIT + left_out(" hundred")
_GROUP = (_HUNDREDS + (_AND + _BELOW_100 | written_as("00")) | written_as("0") + _BELOW_100).optimize()  # three figures
_LEADING_ZEROS = (pynini.closure(pynini.cross("0", "")) + words("123456789") + pynini.closure(FIGURE)).optimize()
_THOUSANDS = (pynini.closure(FIGURE, 1, 3) + pynini.closure(written_as(",") + FIGURE**3)).optimize()


def _rest(scales: list[str]) -> pynini.Fst:
    """What follows the first group, three figures for each of `scales` and three more."""
    if not scales:
        return (_AND + _GROUP | written_as("000")).optimize()
    rest = _rest(scales[1:])
    return ((_AND + _GROUP + left_out(f" {scales[0]}") | written_as("000")) + rest).optimize()


def _up_to(scales: list[str]) -> pynini.Fst:
    """Numbers in figures, with zeros before them."""
    large = [_GROUP + left_out(f" {scale}") + _rest(scales[k + 1 :]) for k, scale in enumerate(scales)]
    return pynini.union(_GROUP, *large).optimize()


_HUNDRED = (TWO_FIGURES @ (words("123456789") + words("123456789"))) + left_out(" hundred")  # nineteen hundred
_OF_HUNDREDS = (_HUNDRED + (_AND + _BELOW_100 | written_as("00"))).optimize()
_CARDINAL = (  # with commas
    (_up_to(["trillion", "billion", "million", "thousand"]) @ _LEADING_ZEROS | _OF_HUNDREDS) @ _THOUSANDS
).optimize()
_ARTICLE = pynini.cross("a ", "one ") + pynini.closure(words("abcdefghijklmnopqrstuvwxyz -"))
_NOT_ROUND = pynini.closure(words("0123456789,")) - (words("1") + pynini.closure(words("0,")))
CARDINAL = (_CARDINAL | _ARTICLE @ _CARDINAL @ _NOT_ROUND).optimize()  # a hundred and fifty; "a hundred" stays
FROM_TEN = (CARDINAL @ (FIGURE + (FIGURE | ",") + pynini.closure(FIGURE | ","))).optimize()
_BELOW_1000 = (_GROUP @ _LEADING_ZEROS).optimize()
DECIMAL = (
    (CARDINAL | mapped([("zero", "0"), ("oh", "0"), ("", "")])) + mapped([(" point ", "."), ("point ", ".")])
    + CODE_DIGIT + pynini.closure(JOINED + CODE_DIGIT)
).optimize()  # fmt: skip
DECIMAL = (DECIMAL @ (pynini.closure(FIGURE | ",") + "." + pynini.closure(FIGURE, 1))).optimize()
ROUND = ((_BELOW_1000 | DECIMAL) + SPACE + words(["million", "billion", "trillion"])).optimize()  # 3.5 million
NUMBER = (CARDINAL | DECIMAL | mapped([("zero", "0")])).optimize()

_CENTURY = TWO_FIGURES @ words(map(str, range(10, 100)))
_OH = mapped([("oh ", "0"), ("o ", "0")]) + DIGIT
TWO_DIGITS = (TWO_FIGURES | _OH).optimize()  # of minutes and years: fifteen, oh five
_BELOW_30 = _BELOW_100 @ (words("012") + FIGURE)  # two thousand forty is rather a number
YEAR = (  # nineteen eighty four, nineteen oh five, twenty twenty four, two thousand seven, nineteen hundred
    (_CENTURY @ words(map(str, range(13, 22)))) + JOINED + TWO_DIGITS
    | mapped([("two thousand", "20")]) + (_AND + _BELOW_30 | written_as("00"))
    | (_CENTURY @ words(map(str, range(11, 20)))) + pynini.cross(" hundred", "00")
).optimize()  # fmt: skip

EARLY_YEAR = (
    (_CENTURY @ words(["10", "11", "12"])) + JOINED + TWO_DIGITS
).optimize()  # more often a time: eleven thirty

_CARDINAL_OF = {ordinal(n): cardinal(n) for n in (*range(1, 20), *range(20, 100, 10))} | {
    f"{scale}th": scale for scale in ("hundred", "thousand", "million")
}
_AS_CARDINAL = pynini.closure(words("abcdefghijklmnopqrstuvwxyz -")) + mapped(_CARDINAL_OF.items())
_ANY = pynini.closure(FIGURE | ",")
_NOT_TEEN = maybe(_ANY + words("023456789,"))
_SUFFIX = pynini.union(
    *(_NOT_TEEN + figure + written_as(suffix) for figure, suffix in zip("123", ("st", "nd", "rd"), strict=True)),
    _NOT_TEEN + words("0456789") + written_as("th"),
    _ANY + "1" + FIGURE + written_as("th"),
)
ORDINAL = (_AS_CARDINAL @ CARDINAL @ _SUFFIX).optimize()  # twenty first -> 21st
ORDINAL_FROM_TEN = (ORDINAL @ (FIGURE + (FIGURE | ",") + pynini.closure(words("0123456789,stndrh")))).optimize()
