"""Frames -> seconds."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from asr.align.changes import SPREAD_S, Changes
from asr.recognizer.recognizer import Recognizer
from asr.search.word_times import Segment

LEAD_S, TAIL_S = 0.04, 0.06  # chosen on half of the TIMIT sample
SHARE = 0.25  # likewise
PAUSE_S = 0.15  # between the peaks of two words; shorter, they meet
LEAST_S = 0.001  # length of a token, the resolution of the times
Span = tuple[float, float]


class Timed(Protocol):
    """Places frames in time. `time_s`: when a frame, or a part of one, begins, within a recording of `duration_s`."""

    @property
    def frame_s(self) -> float: ...

    def time_s(self, frame: float, duration_s: float) -> float: ...


@dataclass(frozen=True)
class Clock:
    """Where the frames of a net lie in a recording: frame k begins at k * `frame_s` - `pad_s`."""

    frame_s: float
    pad_s: float = 0.0

    @classmethod
    def of(cls, recognizer: Recognizer) -> "Clock":
        return cls(recognizer.frame_s, recognizer.cfg.decoder.pad_s)

    def time_s(self, frame: float, duration_s: float) -> float:
        return min(max(frame * self.frame_s - self.pad_s, 0.0), duration_s)


@dataclass(frozen=True)
class PieceClock:
    """Where the frames of a recording lie that was scored in pieces: frame `frames[i]` begins at `starts_s[i]`."""

    frame_s: float
    frames: tuple[int, ...]  # ascending
    starts_s: tuple[float, ...]
    offset: int = 0  # frames before the frame 0 that is asked for

    def from_frame(self, frame: int) -> "PieceClock":
        """The clock that counts frames from `frame`."""
        return replace(self, offset=frame)

    def time_s(self, frame: float, duration_s: float) -> float:
        place = max(0, bisect_right(self.frames, frame + self.offset) - 1)
        time_s = self.starts_s[place] + (frame + self.offset - self.frames[place]) * self.frame_s
        return min(max(time_s, 0.0), duration_s)


@dataclass(frozen=True)
class Edges:
    """The times of words, and of the tokens in each, in seconds: times increase, and the tokens cover their word.

    A net trained with CTC marks each token with a short peak. Next to a pause, a word begins `lead_s` before its first
    peak and ends `tail_s` behind its last one. Where two tokens meet, within a word always and between words without a
    pause, the boundary divides the frames between their peaks, with `SHARE` of them for the first. Then each boundary
    moves to where the sound changes (asr.align.changes), if `changes` are given.
    """

    words: list[Span]
    tokens: list[list[Span]]

    @classmethod
    def of(
        cls, words: Sequence[Sequence[Segment]], clock: Timed, duration_s: float, lead_s: float = LEAD_S,
        tail_s: float = TAIL_S, changes: Changes | None = None,
    ) -> "Edges":  # fmt: skip
        """`words`: the segments of each word, in order."""
        moments: list[float] = []  # of all words; two words that meet share one
        places = []  # of each word's first moment
        for number, segments in enumerate(words):
            pause = (segments[0].start - words[number - 1][-1].end) * clock.frame_s if number else math.inf
            if pause > PAUSE_S:
                if number:
                    moments.append(clock.time_s(words[number - 1][-1].end, duration_s) + tail_s)
                moments.append(clock.time_s(segments[0].start, duration_s) - lead_s)
            else:
                moments.append(clock.time_s(_between(words[number - 1][-1], segments[0]), duration_s))
            places.append(len(moments) - 1)
            moments += [clock.time_s(_between(a, b), duration_s) for a, b in zip(segments, segments[1:], strict=False)]
        if words:
            moments.append(clock.time_s(words[-1][-1].end, duration_s) + tail_s)
        moments = [min(max(moment, 0.0), duration_s) for moment in moments]
        if changes:
            moments = moved(moments, changes)
        moments = separated(moments, duration_s)
        tokens = [
            list(zip(moments[at : at + len(segments)], moments[at + 1 : at + 1 + len(segments)], strict=True))
            for at, segments in zip(places, words, strict=True)
        ]
        return cls([(spans[0][0], spans[-1][1]) for spans in tokens], tokens)


def _between(first: Segment, second: Segment) -> float:
    """The frame at which the second of two tokens that meet begins."""
    return first.end + SHARE * (second.start - first.end)


def moved(moments: Sequence[float], changes: Changes, spread_s: float = SPREAD_S) -> list[float]:
    """The moments where the sound changes next to the given ones; each moves at most halfway to the next ones.

    `spread_s`: the deviation of the cost of moving."""
    times_s = np.array(moments, float)
    halfway_s = (times_s[1:] + times_s[:-1]) / 2
    lows_s, highs_s = np.append(-math.inf, halfway_s), np.append(halfway_s, math.inf)
    return changes.nearest(times_s, lows_s[: len(times_s)], highs_s[: len(times_s)], spread_s).tolist()


def separated(moments: Sequence[float], duration_s: float) -> list[float]:
    """Times that increase by at least `LEAST_S`: at the ends of a recording several moments may be one."""
    found = [round(moment, 3) for moment in moments]
    latest = math.floor(duration_s * 1000 + 1e-6) / 1000
    if found and found[0] >= 0 and found[-1] <= latest:
        if all(after - before > 1.5 * LEAST_S for before, after in pairwise(found)):
            return found  # as they nearly always are
    for place in range(len(found) - 1, -1, -1):
        found[place] = min(found[place], latest)
        latest = round(found[place] - LEAST_S, 3)
    earliest = 0.0
    for place in range(len(found)):
        found[place] = max(found[place], earliest)
        earliest = round(found[place] + LEAST_S, 3)
    return found
