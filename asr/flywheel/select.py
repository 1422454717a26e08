"""What to transcribe next: requests in whose words the recogniser errs most, by its confidences, and that differ.

The gain of a set is that of feature-based submodular selection (Wei, Liu, Kirchhoff & Bilmes, ICASSP 2014): the sum,
over words, of the square root of the expected errors in that word, so that the tenth doubtful "seven" is worth less
than the first. A word that the training texts lack counts twice. Requests are taken greedily by gain per second.

A share of the minutes is drawn at random, since a set that the model itself has chosen shows the model's own view. The
random slice is never chosen from: it stays apart, for measurement.
"""

import heapq
import json
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select

from asr.errors import InputError
from asr.flywheel.chosen import TRANSCRIBED
from asr.flywheel.log import RequestLog
from asr.flywheel.request import REQUESTS, TEXTS, share_of

POOL = 20  # the most doubtful requests whose words are read, as a multiple of those that fill the minutes
LEAST_POOL = 2000
LONGEST_S = 60.0  # longer ones are not chosen: one would fill an hour
NEW_WORD = 2.0  # weight of a word that the training texts lack


@dataclass(frozen=True)
class Candidate:
    id: str
    duration_s: float
    doubts: dict[str, float]  # word -> expected errors in it

    @property
    def doubt(self) -> float:
        return sum(self.doubts.values())


@dataclass(frozen=True)
class Selection:
    """The requests that are chosen, in the order of their worth, and those that are drawn.

    `errors` are expected by the confidences: of the chosen, of the drawn, and of all that could be chosen from, each
    with its seconds.
    """

    chosen: list[str]
    drawn: list[str]
    errors: tuple[float, float, float]
    seconds: tuple[float, float, float]
    new_words: list[str]  # in the chosen ones

    def summary(self) -> str:
        def per_minute(k: int) -> float:
            return 60 * self.errors[k] / self.seconds[k] if self.seconds[k] else 0.0

        lines = [
            f"{len(self.chosen)} requests chosen, {self.seconds[0] / 60:.1f} min; {len(self.drawn)} drawn at random, "
            f"{self.seconds[1] / 60:.1f} min"
        ]
        if self.errors[2] and self.chosen:
            lines.append(
                f"expected errors per minute of sound, by the confidences: {per_minute(0):.2f} in the chosen, "
                f"{per_minute(2):.2f} in all; {per_minute(0) / per_minute(2):.1f} times what a random choice finds"
            )
        if self.new_words:
            shown = ", ".join(self.new_words[:10]) + (", ..." if len(self.new_words) > 10 else "")
            lines.append(f"{len(self.new_words)} words that the training texts lack: {shown}")
        return "\n".join(lines)


def choose(
    log: RequestLog, which: ColumnElement[bool], minutes: float, random_share: float, known: Collection[str] | None
) -> Selection:
    """Chooses among the requests `which` that have sound and no transcript, and are not of the random slice.

    `known`: the words of the training texts; None: no word is new. Raises InputError if there is none to choose from.
    """
    usable = REQUESTS.c.sound.is_not(None) & (REQUESTS.c.duration_s > 0) & (REQUESTS.c.duration_s <= LONGEST_S)
    open_ = which & usable & ~REQUESTS.c.in_slice & ~TRANSCRIBED
    query = select(REQUESTS.c.id, REQUESTS.c.duration_s, REQUESTS.c.doubt).where(open_)
    rows = log.rows(query)
    if not rows:
        raise InputError(
            f"{log.folder} has no request to choose from: those with sound, without a transcript, of at most "
            f"{LONGEST_S:g} s and outside the random slice"
        )
    # Drawn first, by the hash of the id: independent of what the model thinks of them.
    seconds = 60 * minutes
    drawn = _fill([(row.id, row.duration_s) for row in sorted(rows, key=lambda row: share_of(row.id, "draw"))],
                  random_share * seconds)  # fmt: skip
    left = set(drawn)
    rest = sorted((row for row in rows if row.id not in left), key=lambda row: row.doubt / row.duration_s, reverse=True)
    needed = len(_fill([(row.id, row.duration_s) for row in rest], (1 - random_share) * seconds))
    pool = _read(log, [row.id for row in rest[: max(LEAST_POOL, POOL * needed)]])
    chosen = greedy(pool, (1 - random_share) * seconds, known)
    words = {word for candidate in chosen for word in candidate.doubts}
    by_id = {row.id: row for row in rows}
    own = [[by_id[candidate.id] for candidate in chosen], [by_id[id] for id in drawn], rows]
    errors, lengths = ([sum(getattr(row, name) for row in part) for part in own] for name in ("doubt", "duration_s"))
    return Selection(
        [candidate.id for candidate in chosen],
        drawn,
        (errors[0], errors[1], errors[2]),
        (lengths[0], lengths[1], lengths[2]),
        sorted(words.difference(known)) if known is not None else [],
    )


def greedy(pool: Sequence[Candidate], seconds: float, known: Collection[str] | None = None) -> list[Candidate]:
    """The candidates by gain per second, until they fill `seconds`; those that gain nothing are left.

    Gains only shrink while the set grows, so that each is computed again only when it comes to the top (Minoux 1978).
    """
    doubts: defaultdict[str, float] = defaultdict(float)  # of the set, by word

    def gain(candidate: Candidate) -> float:
        total = 0.0
        for word, doubt in candidate.doubts.items():
            weight = NEW_WORD if known is not None and word not in known else 1.0
            total += weight * (math.sqrt(doubts[word] + doubt) - math.sqrt(doubts[word]))
        return total / candidate.duration_s

    heap = [(-gain(candidate), number) for number, candidate in enumerate(pool)]
    heapq.heapify(heap)
    chosen: list[Candidate] = []
    left_s = seconds
    while heap:
        worth, number = heapq.heappop(heap)
        candidate = pool[number]
        if worth >= 0 or candidate.duration_s > left_s:
            continue
        fresh = (-gain(candidate), number)
        if heap and fresh > heap[0]:
            heapq.heappush(heap, fresh)
            continue
        chosen.append(candidate)
        left_s -= candidate.duration_s
        for word, doubt in candidate.doubts.items():
            doubts[word] += doubt
    return chosen


def _fill(items: Sequence[tuple[str, float]], seconds: float) -> list[str]:
    """The first items that fit into so many seconds."""
    found, left_s = [], seconds
    for id, duration_s in items:
        if duration_s > left_s:
            break
        found.append(id)
        left_s -= duration_s
    return found


def _read(log: RequestLog, ids: Sequence[str]) -> list[Candidate]:
    found: list[Candidate] = []
    for first in range(0, len(ids), 500):
        query = select(REQUESTS.c.id, REQUESTS.c.duration_s, TEXTS.c.words).join(TEXTS)
        for row in log.rows(query.where(REQUESTS.c.id.in_(ids[first : first + 500]))):
            doubts: defaultdict[str, float] = defaultdict(float)
            for word in json.loads(row.words):
                doubts[word["word"]] += max(0.0, 1 - word["confidence"])
            found.append(Candidate(row.id, row.duration_s, dict(doubts)))
    return found
