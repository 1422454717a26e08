"""What a log says about a service by day: figures, alarms of the drift test, error rates on transcribed requests."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, case, cast, func, select

from asr.flywheel.drift import Alarm, alarms, threshold
from asr.flywheel.log import RequestLog
from asr.flywheel.request import REQUESTS, TEXTS, TRANSCRIPTS, day_of
from asr.flywheel.said import said

SIGNALS = {  # title -> the number of each request whose daily mean is watched
    "confidence": REQUESTS.c.confidence,
    "rejected": cast(cast(REQUESTS.c.rejected, Integer), Float),
    "words that the recogniser lacks": case((REQUESTS.c.oov > 0, 1.0), else_=0.0),
    "level in dBFS": REQUESTS.c.level_db,
    "SNR in dB": REQUESTS.c.snr_db,
    "length in s": REQUESTS.c.duration_s,
    "latency in s": REQUESTS.c.latency_s,
}
SHARES = ("rejected", "words that the recogniser lacks")
UNTESTED = ("latency in s",)  # it follows the load of the machine, not the speech


@dataclass
class Chart:
    """A figure by day. `days`: those with enough requests, whose figures are tested."""

    title: str
    is_share: bool
    days: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)  # means or shares
    numbers: list[int] = field(default_factory=list)  # requests of each
    errors: list[float] = field(default_factory=list)  # standard errors of the means
    alarms: list[Alarm] = field(default_factory=list)

    def add(self, day: str, number: int, mean: float, square: float) -> None:
        self.days.append(day)
        self.numbers.append(number)
        self.values.append(mean)
        self.errors.append(math.sqrt(max(0.0, square - mean**2) / number))

    def test(self, limit: float, today: str) -> None:
        """Tests the days before `today`: its hours so far need not resemble a whole day.

        Shares are tested as arcsines, which spread alike at every level (Anscombe 1948).
        """
        whole = sum(day < today for day in self.days)
        values, errors = self.values[:whole], self.errors[:whole]
        if self.is_share:
            pairs = list(zip(values, self.numbers, strict=False))
            values = [math.asin(math.sqrt((share * n + 0.375) / (n + 0.75))) for share, n in pairs]
            errors = [0.5 / math.sqrt(n + 0.5) for _, n in pairs]
        self.alarms = alarms(values, errors, limit)


@dataclass(frozen=True)
class Watched:
    """`counts`: requests by day, also of days with too few of them for a test."""

    counts: dict[str, int]
    charts: list[Chart]
    threshold: float

    @property
    def alarmed(self) -> Iterator[tuple[str, Chart, Alarm]]:
        """(day, chart, alarm), the latest first."""
        found = [(chart.days[alarm.day], chart, alarm) for chart in self.charts for alarm in chart.alarms]
        yield from sorted(found, key=lambda each: (each[0], each[1].title), reverse=True)


def watch(
    log: RequestLog, which: ColumnElement[bool], least: int, false_alarms: float, now_s: float | None = None
) -> Watched:
    """Figures by day with their alarms. Days with fewer than `least` requests are counted only, and the day that is not
    over at `now_s` (None: now) is not tested.

    `false_alarms`: of all tests together in 30 days, while nothing changes.
    """
    today = day_of(time.time() if now_s is None else now_s)
    counts = {row.day: row.number for row in log.rows(
        select(REQUESTS.c.day, func.count().label("number")).where(which).group_by(REQUESTS.c.day)
        .order_by(REQUESTS.c.day))}  # fmt: skip
    charts = [*_means(log, which, least), *_kinds(log, which, least, counts)]
    tested = [chart for chart in charts if chart.title not in UNTESTED]
    limit = threshold(false_alarms, max(1, len(tested)))
    for chart in tested:
        chart.test(limit, today)
    return Watched(counts, charts, limit)


def _means(log: RequestLog, which: ColumnElement[bool], least: int) -> list[Chart]:
    columns: list[ColumnElement[Any]] = [REQUESTS.c.day]
    for number, signal in enumerate(SIGNALS.values()):
        columns += [
            func.count(signal).label(f"n{number}"),
            func.avg(signal).label(f"mean{number}"),
            func.avg(signal * signal).label(f"square{number}"),
        ]
    charts = [Chart(title, title in SHARES) for title in SIGNALS]
    for row in log.rows(select(*columns).where(which).group_by(REQUESTS.c.day).order_by(REQUESTS.c.day)):
        for number, chart in enumerate(charts):
            count, mean, square = (getattr(row, f"{name}{number}") for name in ("n", "mean", "square"))
            if count >= least:
                chart.add(row.day, count, float(mean), float(square))
    return [chart for chart in charts if chart.days]


def _kinds(log: RequestLog, which: ColumnElement[bool], least: int, counts: dict[str, int]) -> list[Chart]:
    """The shares of modes and languages. The most frequent of each follows from the others and is not charted."""
    charts = []
    for name, column in (("mode", REQUESTS.c.mode), ("language", REQUESTS.c.language)):
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        query = select(REQUESTS.c.day, column.label("kind"), func.count().label("number"))
        for row in log.rows(query.where(which).group_by(REQUESTS.c.day, column)):
            found[row.kind or "unknown"][row.day] = row.number
        by_size = sorted(found, key=lambda kind: (-sum(found[kind].values()), kind))
        for kind in by_size[1:]:
            chart = Chart(f"{name} {kind}", is_share=True)
            for day, total in counts.items():
                if total >= least:
                    share = found[kind].get(day, 0) / total
                    chart.add(day, total, share, share)
            charts += [chart] if chart.days else []
    return charts


@dataclass(frozen=True)
class Transcribed:
    """A request with its transcript."""

    id: str
    day: str
    model: str
    in_slice: bool
    transcript: str
    answered: str
    words: str  # JSON
    language: str | None = None


def transcribed(log: RequestLog, which: ColumnElement[bool]) -> list[Transcribed]:
    """The requests with a transcript, oldest first. Transcripts and answers are as spoken, words as logged."""
    columns = (REQUESTS.c.id, REQUESTS.c.day, REQUESTS.c.model, REQUESTS.c.in_slice, TRANSCRIPTS.c.text, TEXTS.c.text,
               TEXTS.c.words, REQUESTS.c.language)  # fmt: skip
    joined = REQUESTS.join(TRANSCRIPTS).join(TEXTS, TEXTS.c.id == REQUESTS.c.id)
    query = select(*columns).select_from(joined).where(which).order_by(REQUESTS.c.time_s, REQUESTS.c.id)
    found = [Transcribed(*tuple(row)) for row in log.rows(query)]
    return [
        replace(row, transcript=said(row.transcript, row.language), answered=said(row.answered, row.language))
        for row in found
    ]
