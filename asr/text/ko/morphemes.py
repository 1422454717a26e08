"""Korean words cut into morphemes, by kiwipiepy (extra `korean`)."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from asr.errors import InputError, missing
from asr.pieces import BEGIN


@cache
def kiwi() -> Any:
    """Raises InputError if kiwipiepy is not installed."""
    try:
        from kiwipiepy import Kiwi
    except ImportError as e:
        raise InputError(missing("korean", "the analysis of Korean words (spacing, morphemes)", "kiwipiepy")) from e
    return Kiwi(num_workers=1)


def morphemes(text: str) -> str:
    """The text in pieces (asr.pieces): `나는 학교에 갔다` -> `▁나 는 ▁학교 에 ▁갔 다`.

    Pieces are parts of what is written, so joined they are the text again. A word is cut where a morpheme begins and no
    other one goes on: the syllable 갔, of 가 and 았, stays whole.
    """
    spans = [(token.start, token.end) for token in kiwi().tokenize(text)]
    within = {place for start, end in spans for place in range(start + 1, end)}
    return " ".join(_pieces(text, {start for start, _ in spans} - within))


def _pieces(text: str, cuts: set[int]) -> Iterator[str]:
    end = 0
    for word in text.split():
        begin = text.index(word, end)
        end = begin + len(word)
        inner = sorted(cut for cut in cuts if begin < cut < end)
        for start, stop in pairwise([begin, *inner, end]):
            yield (BEGIN if start == begin else "") + text[start:stop]
