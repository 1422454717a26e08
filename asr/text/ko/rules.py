"""The Standard Pronunciation of Korean (표준 발음법, articles 5 to 30) as a cascade of rewrite rules in pynini.

The cascade reads syllables and the marks that `asr.text.ko.marks` puts between them. A mark tells what the letters do
not: where words are joined, and what is known of single words.

    space   two words of one breath group                                  옷 한 벌 -> 오탄벌
    /       words joined in one: a coda is neutralised before it moves     겉/옷 -> 거돋
    |       the same or nothing                                            맛|있다 -> 마딛따, 마싣따
    +       as /, and ㄴ is added before 이 야 여 요 유                      솜+이불 -> 솜니불
    ~       the same or nothing                                            검~열 -> 검녈, 거멸
    '       as /, and ㄱ ㄷ ㅂ ㅅ ㅈ become tense; ㅅ before it is silent      물'고기 -> 물꼬기, 냇'가 -> 내까
    "       the same or nothing                                            신"고 -> 신꼬, 신고
    =       ㄹ after ㄴ becomes ㄴ                                           생산=량 -> 생산냥
    _       the particle 의                                                우리_의 -> 우리의, 우리에
    ^       어 and 오 may have a glide                                     되^어 -> 되어, 되여

Optional rules have weights, so that a text has several pronunciations with probabilities. The form that the regulation
names first has the probability `FIRST`. This is a convention and not measured: `asr lexicon fit` estimates
probabilities from speech.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pynini
from pynini.lib import pynutil

MARKS = " /|+~'\"=_^"
FIRST = 0.6

_L = [chr(0x1100 + i) for i in range(19)]  # initials
_V = [chr(0x1161 + i) for i in range(21)]  # vowels
_T = [chr(0x11A8 + i) for i in range(27)]  # codas
_I_Y = "ᅵᅣᅧᅭᅲ"
_LENIS, _TENSE = "ᄀᄃᄇᄉᄌ", "ᄁᄄᄈᄊᄍ"
_SEVEN = dict(zip("ᆩᆪᆬᆭᆰᆱᆲᆳᆴᆵᆶᆹᆺᆻᆽᆾᆿᇀᇁᇂ", "ᆨᆨᆫᆫᆨᆷᆯᆯᆯᆸᆯᆸᆮᆮᆮᆮᆨᆮᆸᆮ", strict=True))  # 9, 10, 11
_MOVED = dict(zip("ᆨᆩᆫᆮᆯᆷᆸᆺᆻᆽᆾᆿᇀᇁ", "ᄀᄁᄂᄃᄅᄆᄇᄉᄊᄌᄎᄏᄐᄑ", strict=True)) | dict(  # 13, 14
    zip("ᆪᆬᆰᆱᆲᆳᆴᆵᆹ", "ᆨᄊ ᆫᄌ ᆯᄀ ᆯᄆ ᆯᄇ ᆯᄊ ᆯᄐ ᆯᄑ ᆸᄊ".split(), strict=True)
)
_STRONG = {"ᄀ": "ᄏ", "ᄃ": "ᄐ", "ᄌ": "ᄎ"}
_WITH_H = dict(zip("ᆨᆩᆪᆿᆮᆺᆻᆾᇀᇂᆽᆸᇁᆹ", "ᄏᄏᄏᄏᄐᄐᄐᄐᄐᄐᄎᄑᄑᄑ", strict=True)) | dict(  # 12
    zip("ᆰᆬᆲᆵᆴ", "ᆯᄏ ᆫᄎ ᆯᄑ ᆯᄑ ᆯᄐ".split(), strict=True)
)


@cache
def _sigma() -> pynini.Fst:
    return pynini.union(*_L, *_V, *_T, *map(pynini.escape, MARKS)).closure().optimize()


def _any(symbols: Iterable[str]) -> pynini.Fst:
    return pynini.union(*map(pynini.escape, symbols))


def _rewrite(pairs: Mapping[str, str], before: Any = "", after: Any = "") -> pynini.Fst:
    """A rule that replaces the keys by the values between `before` and `after`."""
    tau = pynini.union(*(pynini.cross(pynini.escape(old), new) for old, new in pairs.items()))
    return pynini.cdrewrite(tau, before, after, _sigma())


def _choose(pairs: Mapping[str, tuple[str, str]], before: Any = "", after: Any = "") -> pynini.Fst:
    """A rule with two results, of which the first has the probability `FIRST`."""
    weights = -math.log(FIRST), -math.log(1 - FIRST)
    tau = pynini.union(
        *(pynutil.add_weight(pynini.cross(pynini.escape(old), pynini.escape(new)), weight)
          for old, both in pairs.items() for new, weight in zip(both, weights, strict=True))
    )  # fmt: skip
    return pynini.cdrewrite(tau, before, after, _sigma())


def _vowels() -> list[pynini.Fst]:
    """Articles 5 and 22: ㅢ, ㅖ, and a glide in 되어."""
    inside = _any([*_V, *_T, *"/+'="])
    return [
        _rewrite({"ᅴ": "ᅵ"}, before=_any(set(_L) - {"ᄋ"})),
        _choose({"ᅴ": ("ᅴ", "ᅵ")}, before=inside + "ᄋ"),
        _choose({"ᅴ": ("ᅴ", "ᅦ")}, before="_ᄋ"),
        _choose({"ᅨ": ("ᅨ", "ᅦ")}, before=_any(set(_L) - set("ᄋᄅ"))),
        _choose({"ᅥ": ("ᅥ", "ᅧ"), "ᅩ": ("ᅩ", "ᅭ")}, before=pynini.escape("^") + "ᄋ"),
        _rewrite({"_": "", "^": ""}),
    ]


def _joints() -> list[pynini.Fst]:
    """Articles 15, 17, 20, 28, 29, 30: what happens where words, stems and endings are joined."""
    tense = dict(zip(_LENIS, _TENSE, strict=True))
    i_yeo = _any("ᅵᅧ")
    return [
        _choose({"|": ("/", "")}),
        _choose({"~": ("+", "")}),
        _choose({'"': ("'", "")}),
        _rewrite({"ᄋ": "ᄂ"}, before=_any(_T) + "+", after=_any(_I_Y)),
        _choose({"ᆺ": ("", "ᆮ")}, after="'" + _any(_LENIS)),
        _rewrite(tense, before="'"),
        _rewrite({"ᆮᄋ": "ᄌ", "ᇀᄋ": "ᄎ", "ᆴᄋ": "ᆯᄎ", "ᆮᄒ": "ᄎ", "ᆴᄒ": "ᆯᄎ"}, after=i_yeo),
        _rewrite({"ᄅ": "ᄂ"}, before="ᆫ="),
        _rewrite(_SEVEN, after=_any(" /+'=")),
        _rewrite(dict.fromkeys(" /+'=", "")),
    ]


def _letters() -> list[pynini.Fst]:
    """Articles 9 to 14, 18 to 20, 23 to 25: what neighbouring letters do to each other."""
    tense = dict(zip(_LENIS, _TENSE, strict=True))
    tense_but_b = {lenis: tense[lenis] for lenis in "ᄀᄃᄉᄌ"}
    strong = {coda + lenis: kept + _STRONG[lenis] for coda, kept in (("ᇂ", ""), ("ᆭ", "ᆫ"), ("ᆶ", "ᆯ"))
              for lenis in _STRONG}  # fmt: skip
    return [
        _rewrite(strong | {"ᇂᄉ": "ᄊ", "ᆭᄉ": "ᆫᄊ", "ᆶᄉ": "ᆯᄊ", "ᇂᄋ": "ᄋ", "ᆭᄋ": "ᄂ", "ᆶᄋ": "ᄅ"}),  # 12
        _rewrite({coda + "ᄒ": both for coda, both in _WITH_H.items()}),
        _rewrite(tense, before=_any("ᆨᆩᆪᆰᆿᆮᆺᆻᆽᆾᇀᆸᇁᆲᆵᆹ")),  # 23
        _rewrite(tense_but_b, before=_any("ᆬᆱᆴ")),  # 24, 25
        _rewrite({"ᆰ": "ᆯ"}, after="ᄁ"),  # 11
        _rewrite({coda + "ᄋ": moved for coda, moved in _MOVED.items()}),  # 13, 14
        _rewrite(_SEVEN),  # 9, 10, 11
        _rewrite({"ᄅ": "ᄂ"}, before=_any("ᆨᆮᆸᆷᆼ")),  # 19
        _rewrite({"ᆨ": "ᆼ", "ᆮ": "ᆫ", "ᆸ": "ᆷ"}, after=_any("ᄂᄆ")),  # 18
        _rewrite({"ᆫ": "ᆯ"}, after="ᄅ"),  # 20
        _rewrite({"ᄂ": "ᄅ"}, before="ᆯ"),
        _rewrite(dict(zip("ᅣᅤᅧᅨᅭᅲ", "ᅡᅢᅥᅦᅩᅮ", strict=True)), before=_any("ᄌᄍᄎ")),  # 5
    ]


@cache
def _cascade() -> list[pynini.Fst]:
    with pynini.default_token_type("utf8"):
        return [rule.optimize() for rule in (*_vowels(), *_joints(), *_letters())]


def apply(jamo: pynini.Fst) -> pynini.Fst:
    """The transducer from an acceptor of jamo and marks to their pronunciations, with costs."""
    for rule in _cascade():
        jamo = pynini.compose(jamo, rule)
    return jamo


def spell(marked: str) -> str:
    """Syllables as conjoining jamo, as the cascade reads them."""
    return unicodedata.normalize("NFD", marked)


def rewrite(marked: str) -> dict[str, float]:
    """The pronunciations of a marked text in syllables, with their probabilities, the most probable one first."""
    with pynini.default_token_type("utf8"):
        found: dict[str, float] = {}
        for _, jamo, cost in apply(pynini.accep(pynini.escape(spell(marked)))).paths().items():
            text = unicodedata.normalize("NFC", jamo)
            found[text] = found.get(text, 0.0) + math.exp(-float(cost))
    return dict(sorted(found.items(), key=lambda item: -item[1]))
