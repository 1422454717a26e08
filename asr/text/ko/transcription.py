"""Marks in transcripts of Korean speech, as those of KsponSpeech and AI Hub.

    (3시)/(세 시)      as written / as spoken: one of them is kept
    b/ n/ l/ o/ u/     breath, noise, laughter, other speech, unintelligible: removed

`아/` (a filler), `그+` (repeated) and `뭐*` (unclear) are words; cleaning removes their marks as punctuation.
"""

import re

_DUAL = re.compile(r"\(([^()]*)\)\s*/\s*\(([^()]*)\)")
_NOISE = re.compile(r"(?<![A-Za-z0-9/])(?:[bnlou]/)+(?![A-Za-z0-9])")


def plain(text: str, as_spoken: bool = True) -> str:
    """The text as it is spoken, or as it is written, without marks of noises."""
    if "/" not in text:
        return text
    return _DUAL.sub(r"\2" if as_spoken else r"\1", _NOISE.sub(" ", text))
