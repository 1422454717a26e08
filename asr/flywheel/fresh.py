"""What to train on and what to test on, among transcribed requests: recent ones first, and the test later than both.

    train, dev      requests outside the random slice, from before the test's first day
    test            the random slice of the newest days

The random slice is never trained on, whatever its age, so that it stays fit to test any later recogniser. An utterance
that is `half_life_days` older than the newest counts half: in training by the number of its copies, in the test by its
weight (`weights`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from asr.errors import InputError
from asr.flywheel.log import DAY_S
from asr.flywheel.request import WORD, day_of, share_of
from asr.manifest import Utterance

COPIES = 4  # of the newest utterances in the training set
DEV_SHARE = 0.1
LATEST_S = 4e9  # the year 2096


@dataclass(frozen=True)
class Sets:
    """`counts`: the utterances left out, by reason; `first_day`: of the test."""

    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]
    first_day: str
    counts: Counter[str]

    def summary(self) -> str:
        different = len({u.extra["copy_of"] for u in self.train})
        lines = [
            f"training: {different} requests in {len(self.train)} copies, recent ones in more; dev: {len(self.dev)}",
            f"test: {len(self.test)} of the random slice since {self.first_day}",
        ]
        return "\n".join([*lines, *(f"left out: {number} {reason}" for reason, number in self.counts.items())])


def divide(utterances: Iterable[Utterance], test_days: int, half_life_days: float, least: int) -> Sets:
    """Divides requests as `asr flywheel export` writes them.

    The test has the random slice of the newest `test_days` days that it has any of. Raises InputError for an utterance
    without the time or slice of a request, if the test has fewer than `least` utterances, and if nothing is left to
    train on.
    """
    counts: Counter[str] = Counter()
    told: list[Utterance] = []
    for utterance in utterances:
        time_s(utterance)
        if utterance.text is None:
            counts["without a transcript"] += 1
        else:
            told.append(utterance)
    of_slice = [u for u in told if is_in_slice(u)]
    first_s = _first_s(of_slice, test_days)
    test = sorted((u for u in of_slice if time_s(u) >= first_s), key=_age_order)
    if len(test) < least:
        raise InputError(
            f"the random slice has {len(test)} transcribed requests of its newest {test_days} days, and a test needs "
            f"{least} (flywheel.least_requests): transcribe those of `asr flywheel export part=slice transcribed=no`, "
            "or raise flywheel.test_days"
        )
    counts["of the random slice before the test, which is never trained on"] = len(of_slice) - len(test)
    others = [u for u in told if not is_in_slice(u)]
    usable = sorted((u for u in others if time_s(u) < first_s), key=_age_order)
    counts["as new as the test"] = len(others) - len(usable)
    if len(usable) < 2:
        remedy = _remedy(others, len(others) - len(usable), _first_s(of_slice, 1))
        raise InputError(
            f"{len(usable)} transcribed requests are outside the random slice and older than the test, which begins on "
            f"{day_of(first_s)}; {remedy}"
        )
    dev = _dev(usable)
    train = [u for u in usable if u.id not in dev]
    copies = copied(train, half_life_days)
    counts["so old that they have no copy"] = len(train) - len({u.extra["copy_of"] for u in copies})
    return Sets(copies, [u for u in usable if u.id in dev], test, day_of(first_s),
                Counter({reason: number for reason, number in counts.items() if number}))  # fmt: skip


def weights(utterances: Sequence[Utterance], half_life_days: float) -> np.ndarray:
    """The weight (U,) in (0, 1] of each: half for each `half_life_days` that it is older than the newest."""
    times = np.array([time_s(u) for u in utterances])
    return 0.5 ** ((times.max() - times) / DAY_S / half_life_days)


def copied(utterances: Sequence[Utterance], half_life_days: float) -> list[Utterance]:
    """The utterances in copies by weight, `COPIES` of the newest; the hash of the id rounds, up or down, so that the
    mean number is the weight's. `copy_of` names the request. The newest is in it at least once."""
    found = []
    for utterance, weight in zip(utterances, weights(utterances, half_life_days), strict=True):
        for number in range(math.floor(COPIES * weight + share_of(utterance.id, "copies"))):
            extra = {**utterance.extra, "copy_of": utterance.id}
            found.append(replace(utterance, id=f"{utterance.id}~{number}" if number else utterance.id, extra=extra))
    return found


def time_s(utterance: Utterance) -> float:
    """When a request was answered, in seconds since 1970. Raises InputError if that is not told."""
    told, in_slice = utterance.extra.get("answered_at_s"), utterance.extra.get("in_slice")
    is_time = isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < LATEST_S
    if not (is_time and isinstance(in_slice, bool)):
        raise InputError(
            f"utterance '{utterance.id}' has no answered_at_s and in_slice, as `asr flywheel export` writes them; "
            "speech of other sources serves as data.replay, or as a regression set"
        )
    return float(cast(float, told))


def is_in_slice(utterance: Utterance) -> bool:
    return utterance.extra.get("in_slice") is True


def is_word(utterance: Utterance) -> bool:
    """Whether a request brought a list or grammar: a recogniser of free speech is neither trained nor judged by it."""
    return utterance.extra.get("mode") == WORD


def _age_order(utterance: Utterance) -> tuple[float, str]:
    return time_s(utterance), utterance.id


def _remedy(others: Sequence[Utterance], young: int, last_day_s: float) -> str:
    """What helps if too few requests are older than the test: a shorter one only if it leaves enough of them."""
    if len(others) < 2:
        return "transcribe those of `asr flywheel select`"
    sooner = "lower flywheel.test_days, or " if sum(time_s(u) < last_day_s for u in others) >= 2 else ""
    return f"{young} more {'is' if young == 1 else 'are'} as new as the test: {sooner}retrain when the log is older"


def _first_s(of_slice: Sequence[Utterance], days: int) -> float:
    """The beginning (UTC) of the test: of the newest day and the `days` - 1 before it."""
    newest_s = max(map(time_s, of_slice), default=0.0)
    return (math.floor(newest_s / DAY_S) + 1 - days) * DAY_S


def _dev(utterances: Sequence[Utterance]) -> set[str]:
    """The ids of a tenth, and at least one, by their hash."""
    ranked = sorted((u.id for u in utterances), key=lambda id: share_of(id, "dev"))
    return set(ranked[: math.ceil(DEV_SHARE * len(ranked))])
