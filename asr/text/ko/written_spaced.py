"""The grammar of Korean numbers with spaces inside: 삼백 이십 일 -> 321, 이 천 이 십 육 년 -> 2026년.

Language models of syllables space numbers so. A single syllable may also be a word: 이 (this, or the particle of the
subject), 일 (work), 사 (buy). So a whole run of syllables must be one number, and show that it is one: by two scales
such as 백 and 십, or by a scale with its digit and another digit after it (삼십 구). Two scales are asked for if the
number ends in 이 or 일 apart: 이십 일 is the 20th, and 구십 일 is 90 days.
"""

import pynini

from asr.text.ko.written_numbers import CODE_DIGIT, DIGIT, FIGURE, FOUR_SPACED, GAP, SPACED
from asr.text.rewriting import JOINED, SPACE, costing, maybe, words

_DIGIT, _SCALE = words("일이삼사오육칠팔구"), words("십백천만")
_LATER_DIGIT = words("삼사오육칠팔구")  # 이 and 일 are words more often
_SYLLABLE = (_DIGIT | _SCALE).optimize()
_RUN = (_SYLLABLE + pynini.closure(maybe(SPACE) + _SYLLABLE)).optimize()
_ANY = pynini.closure(_SYLLABLE | SPACE).optimize()
# After a single digit; 는, 면 and 고 would make words of it: 사는, 오면, 이고.
_SAFE = words("입니다 입니까 예요 이에요 이요 부터 까지 에서 보다".split())


def _with(*parts: pynini.Fst) -> pynini.Fst:
    """Runs that have these parts, in order."""
    found = _ANY
    for part in parts:
        found = found + part + _ANY
    return _both(_RUN, found)


def _both(one: pynini.Fst, other: pynini.Fst) -> pynini.Fst:
    return pynini.intersect(one.arcsort(), other.arcsort()).optimize()


_TWO_SCALES = _with(_SCALE, _SCALE)
_DIGIT_FIRST = (_DIGIT + maybe(SPACE) + _SCALE + _ANY).optimize()
# 이 백 may be these hundred; 백 or 만 alone before something else than 이십 may be another word.
_DOUBTFUL = (
    (pynini.accep("이 ") + _SCALE + _ANY - _with(SPACE, SPACE, SPACE))
    | "십" + (_ANY - ("만" + _ANY))
    | "만" + maybe(SPACE) + (_RUN - _TWO_SCALES)
    | words("백천") + SPACE + (_RUN - _DIGIT_FIRST)
    | _ANY + "만" + SPACE + _DIGIT
).optimize()  # fmt: skip
_APART = _with(_DIGIT + SPACE + _SCALE)
_SYLLABLES = (_both(_APART, _with(SPACE, SPACE)) - _DOUBTFUL).optimize()  # 삼 백 이 십
_ONE_SCALE = _DIGIT + words("십백천") + SPACE + _LATER_DIGIT - ("이천 " + _LATER_DIGIT)  # 이천 is a city
_ENDS_APART = _with(SPACE + _DIGIT) - (_ANY + _SCALE) - (_ANY + _SYLLABLE + _DIGIT)
_IN_TWO = (_ANY + "이").optimize()
_ALONE = (
    _ONE_SCALE
    | (_both(_TWO_SCALES, _with(SPACE)) - _APART - _DOUBTFUL)
    | (_SYLLABLES - (_both(_ENDS_APART, (_ANY + words("일이")).optimize()) - _TWO_SCALES))
).optimize()  # fmt: skip
_YEARS = FOUR_SPACED @ (words(["18", "19", "20"]) + FIGURE**2)


def alone(josa: pynini.Fst, after_vowels: pynini.Fst, verbs: pynini.Fst) -> pynini.Fst:
    """Numbers without a counter. `josa`: particles; `after_vowels`: those that may follow 이; `verbs`: after these
    subjects: 이 of 삼백 이십 이 넘는 is a particle."""
    number = costing(SPACED, 0.05) | _YEARS
    plain = (_ALONE - _ENDS_APART - _IN_TWO) @ number + josa
    two = _both(_ALONE - _ENDS_APART, _IN_TWO) @ number + maybe(after_vowels)
    apart = _both(_ALONE, _ENDS_APART) @ number + maybe(_SAFE)
    subject = (_ALONE - _ENDS_APART) @ SPACED + GAP + "이" + SPACE + verbs
    return costing(plain | two | apart | subject, 0.1).optimize()


def counted(counters: pynini.Fst) -> pynini.Fst:
    """삼 백 명, 이 십 오 분, 오 만 원."""
    short = _LATER_DIGIT + SPACE + words("십백천")
    number = (_SYLLABLES | short) @ SPACED | _SYLLABLES @ _YEARS
    mans = _LATER_DIGIT @ DIGIT + JOINED + "만" + maybe(SPACE) + "원"  # 구 만주: old Manchuria
    return (number + GAP + counters | mans).optimize()


def phone() -> pynini.Fst:
    """공 일 공 일 이 삼 사 오 육 칠 팔 -> 010-1234-5678."""
    figures = (CODE_DIGIT + JOINED) ** 3 + CODE_DIGIT
    hyphen = pynini.cross(" ", "-")
    return (pynini.cross("공 일 ", "01") + CODE_DIGIT + hyphen + figures + hyphen + figures).optimize()
