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
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select

from asr.errors import InputError
from asr.evaluation.score import comparable, lang_of
from asr.flywheel.log import RequestLog, blocks
from asr.flywheel.request import FOUND_UNUSABLE, REQUESTS, TEXTS, TRANSCRIBED

POOL = 20  # the most doubtful requests, whose words are read, as a multiple of those that fill the minutes
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
        if not self.chosen:
            lines.append("no request with a doubtful word fits; random_share=1 draws all minutes at random")
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
    log: RequestLog,
    which: ColumnElement[bool],
    minutes: float,
    random_share: float,
    known: Collection[str] | None,
    lang: str = "auto",
) -> Selection:
    """Chooses among the requests `which` that have sound and no transcript, and are not of the random slice.

    `known`: the words of the training texts; None: no word is new. Words are compared as `asr score` does, whose option
    is `lang`. Raises InputError if there is none to choose from.
    """
    usable = REQUESTS.c.sound.is_not(None) & (REQUESTS.c.duration_s > 0) & (REQUESTS.c.duration_s <= LONGEST_S)
    open_ = which & usable & ~REQUESTS.c.in_slice & ~TRANSCRIBED & ~FOUND_UNUSABLE
    sums = select(func.count(), func.sum(REQUESTS.c.doubt), func.sum(REQUESTS.c.duration_s)).where(open_)
    number, doubt, duration_s = tuple(log.rows(sums)[0])
    if not number:
        raise InputError(
            f"{log.folder} has no request to choose from: those with sound, without a transcript, of at most "
            f"{LONGEST_S:g} s and outside the random slice"
        )
    seconds = 60 * minutes
    drawn = _draw(log, open_, random_share * seconds, duration_s / number)
    # Those that are drawn are no longer in the pool.
    size = max(LEAST_POOL, round(POOL * (1 - random_share) * seconds * number / duration_s))
    by_doubt = select(REQUESTS.c.id).where(open_).order_by((REQUESTS.c.doubt / REQUESTS.c.duration_s).desc())
    pool = _read(log, [row.id for row in log.rows(by_doubt.limit(size)) if row.id not in drawn])
    lang = lang_of((word for candidate in pool for word in candidate.doubts), lang)
    pool = [_folded(candidate, lang) for candidate in pool]
    if known is not None:
        known = {part for word in known for part in comparable(word, lang).split()}
    chosen = greedy(pool, (1 - random_share) * seconds, known)
    words = {word for candidate in chosen for word in candidate.doubts}
    return Selection(
        [candidate.id for candidate in chosen],
        list(drawn),
        (sum(candidate.doubt for candidate in chosen), sum(row.doubt for row in drawn.values()), doubt),
        (
            sum(candidate.duration_s for candidate in chosen),
            sum(row.duration_s for row in drawn.values()),
            duration_s,
        ),
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


def _draw(log: RequestLog, which: ColumnElement[bool], seconds: float, mean_s: float) -> dict[str, Row[Any]]:
    """Requests of `which` that fit into so many seconds, in the order of their draw: what the model thinks of them has
    no part in it. `mean_s`: their mean duration."""
    query = select(REQUESTS.c.id, REQUESTS.c.duration_s, REQUESTS.c.doubt).where(which).order_by(REQUESTS.c.draw)
    most = math.ceil(2 * seconds / mean_s) + 10
    while True:
        found: dict[str, Row[Any]] = {}
        left_s = seconds
        rows = log.rows(query.limit(most))
        for row in rows:
            if row.duration_s > left_s:
                return found
            found[row.id] = row
            left_s -= row.duration_s
        if len(rows) < most:
            return found
        most *= 2


def _folded(candidate: Candidate, lang: str) -> Candidate:
    """The candidate with its words in comparable form."""
    doubts: defaultdict[str, float] = defaultdict(float)
    for word, doubt in candidate.doubts.items():
        doubts[comparable(word, lang)] += doubt
    return replace(candidate, doubts=dict(doubts))


def _read(log: RequestLog, ids: Sequence[str]) -> list[Candidate]:
    found: list[Candidate] = []
    for block in blocks(ids):
        query = select(REQUESTS.c.id, REQUESTS.c.duration_s, TEXTS.c.words).join(TEXTS)
        for row in log.rows(query.where(REQUESTS.c.id.in_(block))):
            doubts: defaultdict[str, float] = defaultdict(float)
            for word in json.loads(row.words):
                doubts[word["word"]] += max(0.0, 1 - word["confidence"])
            found.append(Candidate(row.id, row.duration_s, dict(doubts)))
    return found
