"""The grammar of Latin letters that are spoken by their Korean names: 에이티엠 -> ATM, 엠피쓰리 -> MP3."""

import pynini

from asr.text.ko.numbers import LETTERS
from asr.text.rewriting import SPACE, mapped, without, words

_NAMES = {name: letter for letter, name in LETTERS.items()} | {"에이취": "H", "더블류": "W"}
_COMMON = "BCDEGIOPQTU"  # their names are also syllables of many words
_KNOWN = {
    "티비": "TV", "씨디": "CD", "피디": "PD", "비씨": "BC", "피씨": "PC", "아이디": "ID", "디제이": "DJ",
    "유아이": "UI", "아이티": "IT", "씨지": "CG", "디브이디": "DVD", "큐알": "QR", "에이즈": "AIDS",
}  # fmt: skip
_DIGITS = {"투": "2", "쓰리": "3", "포": "4", "파이브": "5"}
_PLACES = "코너 구역 타입 홀 게이트 코스 그룹 블록 등급 학점 동".split()


def letters() -> pynini.Fst:
    """Two letters whose names are hardly parts of other words, three and more if one of them is such, single letters
    before nouns such as 코너."""
    name = mapped(_NAMES.items())
    rare = mapped((spoken, letter) for spoken, letter in _NAMES.items() if letter not in _COMMON)
    long = mapped((spoken, letter) for spoken, letter in _NAMES.items() if letter in "HW")
    pair = rare + rare | long + name | name + long
    digit = mapped(_DIGITS.items())
    many = name ** (3, 6)
    some_rare = pynini.closure(name) + rare + pynini.closure(name)
    many = pynini.project(some_rare, "input").optimize() @ many
    ends_in_particle = pynini.closure(name) + words(["이", "오", "유"])
    many = without(many, pynini.project(ends_in_particle, "input"))  # 유엔이
    first = mapped((spoken, letter) for spoken, letter in _NAMES.items() if letter in "ABCDFGH")
    single = first + SPACE + words(_PLACES)
    return (pair | many | name + name + digit | mapped(_KNOWN.items()) | single).optimize()
