"""Spaces between the words of a hypothesis: how well they are placed, and words that do not depend on them.

Both compare texts through an alignment of their characters without spaces (rapidfuzz's Levenshtein alignment). Writers
of Korean disagree on spaces, so its benchmarks report them apart from the characters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Spaces:
    """Numbers of spaces. They can be added."""

    reference: int = 0
    found: int = 0  # in the hypothesis
    right: int = 0  # of `found`

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 if neither text has a space."""
        return 2 * self.right / (self.reference + self.found) if self.reference + self.found else 1.0

    def __add__(self, other: "Spaces") -> "Spaces":
        return Spaces(self.reference + other.reference, self.found + other.found, self.right + other.right)


def spaces(ref: str, hyp: str) -> Spaces:
    """The spaces of two texts with one space between words.

    A space is right if the alignment passes through its place in both texts: the characters before it are aligned with
    each other, and so are those behind it. Each space counts for one of the other text.
    """
    ref_places, hyp_places = _places(ref), _places(hyp)
    right, last = 0, (-1, -1)
    for point in _path(ref, hyp):
        if point[0] in ref_places and point[1] in hyp_places and point[0] != last[0] and point[1] != last[1]:
            right, last = right + 1, point
    return Spaces(len(ref_places), len(hyp_places), right)


def with_spaces(ref: str, hyp: str) -> str:
    """The hypothesis with the spaces of the reference before all characters that are aligned with an equal one.

    Other characters keep the space before them. The word error rate of the result is the space-normalised one (sWER) of
    Bang et al., "KsponSpeech: Korean spontaneous speech corpus for automatic speech recognition", Applied Sciences
    10(19), 2020.
    """
    starts, letters = _places(hyp), hyp.replace(" ", "")
    ref_starts = _places(ref) | {0}
    for op in Levenshtein.opcodes(ref.replace(" ", ""), letters):
        if op.tag == "equal":
            starts -= set(range(op.dest_start, op.dest_end))
            starts |= {i - op.src_start + op.dest_start for i in ref_starts if op.src_start <= i < op.src_end}
    return "".join(f" {c}" if j in starts else c for j, c in enumerate(letters)).strip()


def _places(text: str) -> set[int]:
    """For each space the number of characters before it, spaces not counted."""
    ends, count = set(), 0
    for word in text.split()[:-1]:
        count += len(word)
        ends.add(count)
    return ends


def _path(ref: str, hyp: str) -> Iterator[tuple[int, int]]:
    """The points of the alignment: numbers of characters of both texts that are aligned so far."""
    yield 0, 0
    for op in Levenshtein.opcodes(ref.replace(" ", ""), hyp.replace(" ", "")):
        for k in range(1, max(op.src_end - op.src_start, op.dest_end - op.dest_start) + 1):
            yield min(op.src_start + k, op.src_end), min(op.dest_start + k, op.dest_end)
