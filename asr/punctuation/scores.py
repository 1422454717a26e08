"""Precision, recall and F1 of marks and capitals, against well-written text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from asr.punctuation.marks import CAPITAL, CAPITALS, FULL_STOP, LOWER, MARKS, NONE, UNKNOWN, Marked

Tags = Callable[[Sequence[str]], tuple[list[int], list[int]]]  # words -> marks and cases, as Tagger.tags
NAMES = ("comma", "full stop", "question mark", "capital")


@dataclass
class Score:
    """Counts of one mark."""

    right: int = 0
    found: int = 0
    true: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.found + self.true) if self.found + self.true else 0.0


def score(texts: Iterable[Sequence[Marked]], tags: Tags, has_cases: bool = True) -> dict[str, Score]:
    """Scores per mark, and of capital letters.

    Capitals are counted on all words, those at the start of a sentence included: a word begins with a capital in the
    truth if its own case says so or a sentence begins with it, and likewise in the result.
    """
    found = {name: Score() for name in NAMES[: 4 if has_cases else 3]}
    for text in texts:
        marks, cases = tags([word.word.lower() if has_cases else word.word for word in text])
        for name, mark in zip(NAMES, range(1, len(MARKS)), strict=False):
            _count(found[name], [word.mark == mark for word in text], [each == mark for each in marks])
        if has_cases:
            truth = [word.case in (CAPITAL, CAPITALS, UNKNOWN) for word in text]
            _count(found["capital"], truth, list(_capitals(marks, cases)))
    return found


def _capitals(marks: Sequence[int], cases: Sequence[int]) -> Iterator[bool]:
    before = FULL_STOP
    for mark, case in zip(marks, cases, strict=True):
        yield case != LOWER or before > MARKS.index(",")
        before = mark


def _count(score: Score, truth: Sequence[bool], found: Sequence[bool]) -> None:
    score.true += sum(truth)
    score.found += sum(found)
    score.right += sum(a and b for a, b in zip(truth, found, strict=True))


def baseline(words: Sequence[str]) -> tuple[list[int], list[int]]:
    """A full stop after the last word; the capital at the start follows from it."""
    return [NONE] * (len(words) - 1) + [FULL_STOP] * bool(words), [LOWER] * len(words)


def table(scores: dict[str, Score]) -> str:
    """One line per mark: precision, recall and F1 in percent, and the number of marks in the truth."""
    rows = [f"{name:13}  {100 * s.precision:5.1f}  {100 * s.recall:5.1f}  {100 * s.f1:5.1f}  {s.true:8,}"
            for name, s in scores.items()]  # fmt: skip
    return "\n".join([f"{'':13}  {'prec.':>5}  {'rec.':>5}  {'F1':>5}  {'in truth':>8}", *rows])
