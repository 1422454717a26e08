"""A drift test of daily figures with a known rate of false alarms: the self-starting CUSUM (Hawkins 1987).

Each day is compared with the mean and spread of all days before it. Under normal, independent days its score is exactly
standard normal from the third day on, however few days came before, so that no training period is needed and the
threshold follows from the wanted rate of false alarms alone (Siegmund 1985). The two-sided CUSUM with reference value
1/2 sums scores beyond half a standard deviation; it is best for shifts of one standard deviation and finds larger ones
sooner. Days that resemble the day before raise more alarms than independent ones. Their correlation is estimated from
the days so far, and scores are divided by sqrt((1 + r) / (1 - r)), which is how far it widens the mean of many days.
After an alarm the test begins anew on the next day: the new level is then the normal one, and one change raises
one alarm. The change began after the last day on which the sum was zero.

    found = alarms(values, errors, threshold(false_alarms=0.2, num_charts=6))
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import NormalDist, fmean

REFERENCE = 0.5  # in standard deviations
MONTH_DAYS = 30
WITHOUT_DAYS = 10  # imagined days that show no correlation, so that the first real ones do not decide alone
MOST_CORRELATED = 0.9
LARGEST_SCORE = 7.0  # beyond it the tail of the normal distribution is lost to rounding
_OVERSHOOT = 1.166  # of a sum over its threshold, in Siegmund's formula


@dataclass(frozen=True)
class Alarm:
    """`day` of the alarm and `since`, the day from which the change began; numbers of the values. Was it a rise?"""

    day: int
    since: int
    is_rise: bool


@cache
def threshold(false_alarms: float, num_charts: int = 1) -> float:
    """The threshold at which `num_charts` tests raise so many alarms in 30 days together while nothing changes.

    Siegmund's approximation of the mean time to an alarm of a one-sided CUSUM, halved for two sides.
    """
    wanted_days = MONTH_DAYS * num_charts / false_alarms
    low, high = 0.0, 60.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _days_to_alarm(middle) < wanted_days else (low, middle)
    return high


def _days_to_alarm(threshold: float) -> float:
    grown = 2 * REFERENCE * (threshold + _OVERSHOOT)
    return (math.exp(grown) - grown - 1) / (2 * REFERENCE**2) / 2


def alarms(values: Sequence[float], errors: Sequence[float], threshold: float) -> list[Alarm]:
    """The alarms in daily values (D,). `errors` (D,): the standard error of each; days cannot differ by less.

    They bound the spread of the days from below, as that of a share which was 0 on all days so far is no spread at all.
    """
    found: list[Alarm] = []
    memory = _Memory()
    while alarm := _first_alarm(values, errors, threshold, found[-1].day + 1 if found else 0, memory):
        found.append(alarm)
    return found


class _Memory:
    """The correlation of days with the day before, over all stretches between alarms, each around its own mean."""

    def __init__(self) -> None:
        self._ended = (0, 0.0, 0.0)  # days, products of neighbours, squares: of the stretches before this one

    def correlation(self, days: Sequence[float], mean: float) -> float:
        """With `days` (D,) of this stretch and their mean; 0 if it is negative. Kendall's correction (1954) of the bias
        that comes from estimating the mean."""
        number, products, squares = self._with(days, mean)
        if number < 3 or squares <= 0:
            return 0.0
        found = products / squares
        found += (1 + 4 * found) / number
        return min(MOST_CORRELATED, max(0.0, found * number / (number + WITHOUT_DAYS)))

    def end(self, days: Sequence[float]) -> None:
        """Ends this stretch; `days`: those before its change, which would seem to be correlated."""
        self._ended = self._with(days, fmean(days)) if days else self._ended

    def _with(self, days: Sequence[float], mean: float) -> tuple[int, float, float]:
        away = [day - mean for day in days]
        number, products, squares = self._ended
        products += sum(x * y for x, y in pairwise(away))
        return number + len(days), products, squares + sum(x * x for x in away)


def _first_alarm(
    values: Sequence[float], errors: Sequence[float], threshold: float, first: int, memory: _Memory
) -> Alarm | None:
    sums, since = [0.0, 0.0], [first, first]
    count, mean, squares, noise = 0, 0.0, 0.0, 0.0
    for day in range(first, len(values)):
        if count >= 2:
            spread = math.sqrt(max(squares / (count - 1), (noise / count + errors[day] ** 2) / 2))
            correlation = memory.correlation(values[first:day], mean)
            score = _score(values[day] - mean, spread, count) * math.sqrt((1 - correlation) / (1 + correlation))
            for side, sign in enumerate((1, -1)):
                moved = sums[side] + sign * score - REFERENCE
                if sums[side] == 0:
                    since[side] = day
                sums[side] = max(0.0, moved)
                if sums[side] > threshold:
                    memory.end(values[first : since[side]])
                    return Alarm(day, since[side], sign > 0)
        count += 1
        step = values[day] - mean
        mean += step / count
        squares += step * (values[day] - mean)
        noise += errors[day] ** 2
    return None


def _score(difference: float, spread: float, count: int) -> float:
    """The standard normal score of a value by the mean and spread of `count` values before it (Hawkins 1987)."""
    if spread == 0:
        return 0.0 if difference == 0 else math.copysign(LARGEST_SCORE, difference)
    ratio = difference / spread * math.sqrt(count / (count + 1))
    tail = max(student_tail(abs(ratio), count - 1), 1e-300)
    return math.copysign(min(LARGEST_SCORE, -NormalDist().inv_cdf(min(tail, 0.5))), ratio)


def student_tail(ratio: float, degrees: int) -> float:
    """P(T > ratio) of Student's t, ratio >= 0, by its finite series (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(ratio, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    total, term = 0.0, cosine if degrees % 2 else 1.0
    for k in range(degrees // 2):
        if k:
            term *= cosine**2 * (2 * k - 1 + degrees % 2) / (2 * k + degrees % 2)
        total += term
    between = (2 / math.pi) * (angle + sine * total) if degrees % 2 else sine * total
    return max(0.0, (1 - between) / 2)
