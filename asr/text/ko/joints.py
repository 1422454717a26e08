"""Marks at the joints of a text: where two syllables meet and a pattern fits before and behind them.

There are many patterns and many joints. Few patterns fit the two syllables at a joint, so these are found once per pair
and kept, and only they are tried with what stands around.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache

Class = tuple[str, str, str]  # mark, before, behind
_KEPT = 1 << 16  # pairs of syllables
_LAST = re.compile(r"(\[[^]]+]|[가-힣])\)?$")
_ELEMENT = re.compile(r"\(\?[:!]|\[[^]]+]|.")


class Joints:
    """The patterns of some classes, within words and between them; at each joint the first that fits has its mark.

    `before` and `behind` are regular expressions of literals, `[...]`, `(?:...)` and alternatives, with lookarounds
    before the last and the first syllable. Those of `between_words` meet at a space, which the mark replaces.
    """

    def __init__(self, within_words: Iterable[Class], between_words: Iterable[Class]):
        self._within = [_Pattern(*parts) for parts in within_words]
        self._between = [_Pattern(*parts, between=" ") for parts in between_words]
        self._fitting = lru_cache(_KEPT)(self._find)
        self._before, self._behind = cache(self._ending), cache(self._beginning)

    def marked(self, text: str) -> str:
        """Words between single spaces, with marks at their joints."""
        found, end = "", 0
        for at in range(1, len(text)):
            for pattern, mark in self._fitting(text[at - 1 : at + 1]):
                if joint := pattern.match(text, at):
                    found += text[end:at] + mark
                    end = joint.end()
                    break
        return found + text[end:]

    def _find(self, pair: str) -> list[tuple[re.Pattern[str], str]]:
        """The patterns that fit two syllables, or a syllable and a space, with their marks."""
        left, right = pair[0], pair[1]
        behind = self._between if right == " " else self._behind(right)
        return [(pattern.whole, pattern.mark) for pattern in self._before(left) if pattern in behind]

    def _ending(self, syllable: str) -> list["_Pattern"]:
        return [pattern for pattern in (*self._within, *self._between) if pattern.last.match(syllable)]

    def _beginning(self, syllable: str) -> list["_Pattern"]:
        return [pattern for pattern in self._within if pattern.first.match(syllable)]


class _Pattern:
    def __init__(self, mark: str, before: str, behind: str, between: str = ""):
        befores = before.split("|")
        self.mark = mark
        self.whole = re.compile(f"(?:{'|'.join(f'(?<={part})' for part in befores)}){between}(?={behind})")
        self.last = re.compile("|".join(_last(part) for part in befores))
        self.first = re.compile(_first(behind))


def _last(pattern: str) -> str:
    """A pattern of the last syllable: `(?<![가-힣])[감담]` -> `[감담]`."""
    found = _LAST.search(pattern)
    assert found, pattern
    return found[1]


def _first(pattern: str) -> str:
    """A pattern of the first syllable: `(?!소)(?:것|[거게]이)` -> `것|[거게]`."""
    found: list[str] = []
    is_first = [True, True]  # whether the first syllable may come next: around and in each open group
    lookaheads = 0
    for element in _ELEMENT.findall(pattern):
        if lookaheads or element == "(?!":
            lookaheads += (element[0] == "(") - (element == ")")
        elif element == "(?:":
            is_first.append(is_first[-1])
        elif element == ")":
            is_first.pop()
            is_first[-1] = False
        elif element == "|":
            is_first[-1] = is_first[-2]
        elif is_first[-1]:
            found.append(element)
            is_first[-1] = False
    return "|".join(found)
