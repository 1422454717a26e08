"""Places where what a net hears and a text agree beyond doubt.

An anchor is a run of tokens that occurs once in each of the two sequences. Of all, the longest chain that goes forward
in both is kept; between two anchors of it, shorter runs are looked for in the same way. This is how long recordings are
matched with their texts since Moreno, Joerg, Van Thong & Glickman, "A recursive algorithm for the forced alignment of
very long audio segments", ICSLP 1998, here on tokens, so that it needs no language model.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

ORDERS = (12, 8)  # lengths of the runs, in tokens


class Anchor(NamedTuple):
    """Tokens [heard, heard + length) are those at [text, text + length)."""

    heard: int
    text: int
    length: int


def anchors(heard: Sequence[int], text: Sequence[int], orders: Sequence[int] = ORDERS) -> list[Anchor]:
    """The anchors of two sequences of tokens; both places increase, and runs may overlap."""
    length, *shorter = orders
    chain = _longest_chain(_common(heard, text, length))
    found: list[Anchor] = []
    at_heard = at_text = 0
    for place, other in [*chain, (len(heard), len(text))]:
        if shorter and place > at_heard and other > at_text:
            inner = anchors(heard[at_heard:place], text[at_text:other], shorter)
            found += [Anchor(at_heard + h, at_text + t, n) for h, t, n in inner]
        if place < len(heard):
            found.append(Anchor(place, other, length))
        at_heard, at_text = place + length, other + length
    return found


def _common(heard: Sequence[int], text: Sequence[int], length: int) -> list[tuple[int, int]]:
    """The places of runs that occur once in each, by their place in `heard`."""
    places = _places(text, length)
    return sorted((place, places[run]) for run, place in _places(heard, length).items() if run in places)


def _places(tokens: Sequence[int], length: int) -> dict[tuple[int, ...], int]:
    """The place of each run that occurs once."""
    places: dict[tuple[int, ...], int] = {}
    repeated = set()
    for place in range(len(tokens) - length + 1):
        run = tuple(tokens[place : place + length])
        if places.setdefault(run, place) != place:
            repeated.add(run)
    return {run: place for run, place in places.items() if run not in repeated}


def _longest_chain(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence in which the second place increases too, by patience sorting: O(n log n)."""
    tops: list[int] = []  # the smallest second place in which a chain of each length ends
    ends: list[int] = []  # its pair
    before: list[int] = []
    for number, (_, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [place]
        ends[pile : pile + 1] = [number]
    chain = []
    number = ends[-1] if ends else -1
    while number >= 0:
        chain.append(pairs[number])
        number = before[number]
    return chain[::-1]
