"""Marks in transcripts of NIST's formats (trn, stm), as sclite knows them, and as TED-LIUM adds to them.

{ a / b }    alternatives, also nested; @ stands for no word
(uh)         words that may be left out
that(2)      the number of the pronunciation
{NOISE}      a noise; it stays
"""

import re
from typing import NamedTuple

_ALTERNATION = re.compile(r"\{([^{}]*/[^{}]*)\}")
_OPTIONAL = re.compile(r"(?<!\S)\(([^()]+)\)(?!\S)")
_NUMBERED = re.compile(r"(?<=\w)\(\d+\)")
_NOISE = re.compile(r"\{[^{}\s/]+\}")


class Plain(NamedTuple):
    text: str
    alternations: int
    optional: int  # passages in parentheses
    numbered: int
    noises: list[str]


def plain(text: str) -> Plain:
    """The text with the first of alternatives and with optional words, and how many marks it had."""
    alternations = 0
    while found := len(_ALTERNATION.findall(text)):  # from the inside out
        alternations += found
        text = _ALTERNATION.sub(lambda match: match[1].split("/")[0], text)
    text, optional = _OPTIONAL.subn(r"\1", text)
    text, numbered = _NUMBERED.subn("", text)
    words = [word for word in text.split() if word != "@"]
    return Plain(" ".join(words), alternations, optional, numbered, _NOISE.findall(text))
