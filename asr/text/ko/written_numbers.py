"""Grammars of Korean numbers, from words to figures: 만 육천 -> 16,000, 칠십만 -> 70만, 스물다섯 -> 25."""

import pynini

from asr.text.ko.numbers import native
from asr.text.rewriting import JOINED, SPACE, left_out, mapped, maybe, without, words, written_as

GAP = maybe(JOINED)
FIGURE = words("0123456789")
DIGIT = mapped(zip("일이삼사오육칠팔구", "123456789", strict=True))
CODE_DIGIT = (DIGIT | mapped([("공", "0"), ("영", "0")])).optimize()
_ZERO = mapped([("영", "0"), ("공", "0"), ("제로", "0")])
_LEADING_ZEROS = (pynini.closure(pynini.cross("0", "")) + words("123456789") + pynini.closure(FIGURE)).optimize()
_THOUSANDS = (pynini.closure(FIGURE, 1, 3) + pynini.closure(written_as(",") + FIGURE**3)).optimize()


def _padded(gap: pynini.Fst, inner_gap: pynini.Fst | str = "") -> pynini.Fst:
    """Four figures, with a gap after each scale, and one before it: 이십 -> 0020, 백오 -> 0105."""
    places = [
        (pynini.cross(scale, "1") | DIGIT + inner_gap + left_out(scale)) + gap | written_as("0") for scale in "천백십"
    ]
    return (places[0] + places[1] + places[2] + (DIGIT | written_as("0"))).optimize()


_PADDED = _padded(pynini.accep(""))
PLAIN = (_PADDED @ _LEADING_ZEROS).optimize()  # 1 to 9999, without a comma
FOUR_FIGURES = (PLAIN @ FIGURE**4).optimize()
_BELOW_1000 = (PLAIN @ pynini.closure(FIGURE, 1, 3)).optimize()
_ROUND = ((DIGIT | written_as("1")) + pynini.accep("천")).optimize()  # 이천 -> 2천
_GROUP = (_BELOW_1000 | without(FOUR_FIGURES @ _THOUSANDS, pynini.project(_ROUND, "input")) | _ROUND).optimize()

# The number is in figures alone, and a counter joins it: 228, 2,500, 16,000.
_MIXED = (PLAIN | written_as("1")) + left_out("만") + GAP + without(_PADDED, words([""]))
FIGURES = (without((PLAIN | _MIXED) @ _THOUSANDS, pynini.project(_ROUND, "input"))).optimize()
_PADDED_APART = _padded(GAP)
_PLAIN_APART = (_PADDED_APART @ _LEADING_ZEROS).optimize()
YEAR_APART = (_PLAIN_APART @ FIGURE**4).optimize()  # 이천 이십 육 -> 2026
_MIXED_APART = (_PLAIN_APART | written_as("1")) + left_out("만") + GAP + without(_PADDED_APART, words([""]))
APART = (  # 이백 오십 -> 250, 오만 삼천 오백 -> 53,500
    without((_PLAIN_APART | _MIXED_APART) @ _THOUSANDS, (pynini.project(_ROUND, "input") + maybe(SPACE)).optimize())
).optimize()

# Between any two syllables: 이 천 이 십 육 -> 2,026.
_PADDED_SPACED = _padded(GAP, GAP)
_PLAIN_SPACED = (_PADDED_SPACED @ _LEADING_ZEROS).optimize()
FOUR_SPACED = (_PLAIN_SPACED @ FIGURE**4).optimize()
_MIXED_SPACED = (_PLAIN_SPACED + GAP | written_as("1")) + left_out("만") + GAP + without(_PADDED_SPACED, words([""]))
SPACED = ((_PLAIN_SPACED | _MIXED_SPACED) @ _THOUSANDS).optimize()

MANS_APART = (_PLAIN_APART @ pynini.closure(FIGURE, 1, 3) + pynini.accep("만")).optimize()  # 이백 삼십 사만 -> 234만

# It ends in 천, 만, 억 or 조, and its spaces stay: 5천, 70만, 2억 3천만.
_LATER = maybe(SPACE) + _GROUP
_ABOVE = _GROUP + pynini.accep("조") + maybe(_LATER + pynini.accep("억")) | _GROUP + pynini.accep("억")
_LARGE = _ABOVE + maybe(_LATER + pynini.accep("만")) + maybe(_LATER)
SCALED = (_ROUND | (_GROUP | written_as("1")) + pynini.accep("만") | _LARGE).optimize()

_POINT = mapped([("쩜", "."), ("점", ".")])
_POINT_APART = mapped([(" 점 ", "."), (" 쩜 ", ".")]) + pynini.closure(CODE_DIGIT + JOINED)  # 삼 점 일 사 -> 3.14
DECIMAL = (
    ((_BELOW_1000 | FOUR_FIGURES | _ZERO) + (_POINT | _POINT_APART) | _ZERO + pynini.cross("점 ", "."))
    + pynini.closure(CODE_DIGIT, 1)
).optimize()

NATIVE = mapped((native(n), str(n)) for n in range(2, 100))  # 한 is a word of its own
NATIVE_ABOVE_TEN = mapped((native(n), str(n)) for n in range(11, 100))
NATIVE_APART = mapped(
    (f"{native(10 * tens + 1)[:-1]} {native(ones)}", str(10 * tens + ones))
    for tens in range(1, 10)
    for ones in range(1, 10)
)  # 열 두 -> 12
