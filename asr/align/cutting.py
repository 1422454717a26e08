"""Words with their times -> utterances, cut at pauses and where the text and the recording differ."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from asr.align.alignment import AlignedWord, Alignment, remarks_on
from asr.align.times import Span

MARGIN_S = 0.2  # of sound around the words of an utterance, at most half of the pause to the next words

Numbered = tuple[int, AlignedWord]  # a word and its number in the text


@dataclass(frozen=True)
class Piece:
    """An utterance of a recording; the times of its words count from its start."""

    start_s: float
    first: int  # number of its first word in the text
    alignment: Alignment

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.alignment.words)


def cut(words: Sequence[Numbered], extra: Sequence[Span], duration_s: float, longest_s: float) -> Iterator[Piece]:
    """The utterances of words that follow each other in the text, without other speech in between.

    They are cut at the longest pauses until each lasts at most `longest_s`. A single word is not cut.
    """
    for first, last in _runs(words, extra):
        for start, end in _parts([word for _, word in words[first:last]], longest_s):
            numbered = words[first + start : first + end]
            start_s, end_s = numbered[0][1].start_s, numbered[-1][1].end_s
            before = [word.end_s for _, word in words[max(0, first + start - 1) : first + start]] + [
                e for _, e in extra if e <= start_s
            ]
            after = [word.start_s for _, word in words[first + end : first + end + 1]] + [
                s for s, _ in extra if s >= end_s
            ]
            before_s, after_s = max(before, default=-start_s), min(after, default=2 * duration_s - end_s)
            yield _piece(numbered, _margins(start_s, end_s, before_s, after_s))


def _runs(words: Sequence[Numbered], extra: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """[first, last) of the words between which nothing is missing in the text or the recording."""
    starts = sorted(extra)
    first = at = 0
    for place in range(1, len(words) + 1):
        if place < len(words):
            (number, before), (following, after) = words[place - 1], words[place]
            while at < len(starts) and (starts[at][0] + starts[at][1]) / 2 < before.end_s:
                at += 1
            has_speech = at < len(starts) and (starts[at][0] + starts[at][1]) / 2 < after.start_s
            if following == number + 1 and not has_speech:
                continue
        yield first, place
        first = place


def _parts(words: Sequence[AlignedWord], longest_s: float) -> Iterator[tuple[int, int]]:
    """[start, end) of each part, in order."""
    waiting = [(0, len(words))]
    while waiting:
        start, end = waiting.pop()
        if end - start > 1 and words[end - 1].end_s - words[start].start_s > longest_s:
            middle = _best_cut(words, start, end, longest_s / 4)
            waiting += [(middle, end), (start, middle)]
        else:
            yield start, end


def _best_cut(words: Sequence[AlignedWord], start: int, end: int, least_s: float) -> int:
    """The word before which the pause is longest, among those that leave `least_s` on both sides if there are any; of
    equal pauses, the one in the middle."""
    first_s, last_s = words[start].start_s, words[end - 1].end_s
    places = range(start + 1, end)
    balanced = [p for p in places if words[p - 1].end_s - first_s >= least_s and last_s - words[p].start_s >= least_s]
    middle_s = (first_s + last_s) / 2
    return max(
        balanced or places,
        key=lambda p: (round(words[p].start_s - words[p - 1].end_s, 3), -abs(words[p].start_s - middle_s)),
    )


def _margins(start_s: float, end_s: float, before_s: float, after_s: float) -> Span:
    """The times of an utterance whose words are at [`start_s`, `end_s`), between other speech."""
    start_s, end_s = max(start_s - MARGIN_S, (before_s + start_s) / 2), min(end_s + MARGIN_S, (after_s + end_s) / 2)
    return round(start_s, 3), round(end_s, 3)


def _piece(numbered: Sequence[Numbered], span: Span) -> Piece:
    start_s, end_s = span
    words = [_moved(word, start_s) for _, word in numbered]
    known = [max(word.score, 1e-6) for word in words if not word.is_unknown]
    score = math.exp(sum(map(math.log, known)) / len(known)) if known else 0.0
    return Piece(
        start_s, numbered[0][0], Alignment("", round(end_s - start_s, 3), words, round(score, 4), remarks_on(words, []))
    )


def _moved(word: AlignedWord, start_s: float) -> AlignedWord:
    tokens = [replace(t, start_s=round(t.start_s - start_s, 3), end_s=round(t.end_s - start_s, 3)) for t in word.tokens]
    return replace(word, start_s=round(word.start_s - start_s, 3), end_s=round(word.end_s - start_s, 3), tokens=tokens)
