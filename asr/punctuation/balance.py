"""Offsets of the marks at which their F1 is best on text that was not trained on.

The most probable tag of a word is mostly no mark, where a comma is one of several that are probable. So such a net
misses far more marks than it puts in wrong places.
"""

import numpy as np

from asr.punctuation.marks import COMMA, MARKS, NONE, QUESTION_MARK

OFFSETS = np.arange(-10, 21) / 10  # nats
FEWEST = 20  # a mark that occurs less often has no offset
ROUNDS = 2


def offsets(scores: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """What to add to the scores (N, 4) of N words, whose true marks (N,) are known: (4,) nats, 0 for no mark.

    One mark after the other gets the offset with the best mean F1 of all marks, the smallest of equal ones.
    """
    counts = np.bincount(marks, minlength=len(MARKS))
    used = [mark for mark in range(COMMA, QUESTION_MARK + 1) if counts[mark] >= FEWEST]
    best = np.zeros(len(MARKS), np.float32)
    for mark in used * ROUNDS:
        tried = [np.where(np.arange(len(MARKS)) == mark, offset, best) for offset in OFFSETS]
        found = [(mean_f1((scores + each).argmax(1), marks, used), -abs(each[mark])) for each in tried]
        best = tried[max(range(len(tried)), key=found.__getitem__)]
    assert best[NONE] == 0
    return best.astype(np.float32)


def mean_f1(found: np.ndarray, marks: np.ndarray, used: list[int]) -> float:
    """The mean F1 of the marks `used` that were found and that are true, both (N,)."""
    right = np.bincount(marks[found == marks], minlength=len(MARKS))
    total = np.bincount(marks, minlength=len(MARKS)) + np.bincount(found, minlength=len(MARKS))
    return float(np.mean([2 * right[mark] / total[mark] for mark in used]))
