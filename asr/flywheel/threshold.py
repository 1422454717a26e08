"""Which words to reject: precision against coverage at each threshold of the confidence, and what each costs.

Measured on the words of transcribed requests. A wrong word that is accepted costs `wrong_cost`, a word that is rejected
`reject_cost`, whether it was right or wrong, since somebody has to ask again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import InputError
from asr.evaluation.calibrate import are_correct
from asr.evaluation.score import comparable, lang_of
from asr.flywheel.said import said
from asr.flywheel.watch import Transcribed

GRID = np.round(np.arange(0, 1.0001, 0.01), 2)  # thresholds; words at or above one are accepted
RESAMPLES = 1000


@dataclass(frozen=True)
class Thresholds:
    """At each threshold of GRID (T,): the share of accepted words that are right (NaN: none is accepted), the share of
    words that are accepted, and the cost per word. `interval` has 95 % of the bootstrap draws of what the best
    threshold saves per word."""

    precision: np.ndarray
    coverage: np.ndarray
    cost: np.ndarray
    interval: tuple[float, float]
    num_words: int
    num_requests: int

    @property
    def best(self) -> int:
        """The number of the cheapest threshold, the lowest of equals."""
        return int(np.argmin(self.cost))

    @property
    def saved(self) -> float:
        return float(self.cost[0] - self.cost[self.best])

    def summary(self) -> str:
        lines = ["reject_below  precision  coverage  cost/word"]
        for number in sorted({*range(0, len(GRID), 10), self.best}):
            precision = "-" if np.isnan(self.precision[number]) else f"{self.precision[number]:.1%}"
            mark = "  <- cheapest" if number == self.best else ""
            lines.append(
                f"{GRID[number]:12.2f}  {precision:>9}  {self.coverage[number]:>8.1%}  {self.cost[number]:9.4f}{mark}"
            )
        if not self.best:
            return "\n".join([*lines, "no threshold costs less than accepting every word"])
        low, high = self.interval
        lines.append(
            f"decoder.reject_below={GRID[self.best]:g} saves {self.saved:.4f} per word (95 % interval {low:.4f} to "
            f"{high:.4f}) on {self.num_words} words of {self.num_requests} requests"
        )
        if low <= 0:
            lines.append("the saving may be chance: with these words no threshold is surely better than none")
        return "\n".join(lines)


def thresholds(
    rows: Sequence[Transcribed], wrong_cost: float, reject_cost: float, lang: str = "auto", seed: int = 1
) -> Thresholds:
    """Raises InputError if the requests have no word."""
    lang = lang_of([row.transcript for row in rows], lang)
    accepted, right = [], []  # (T,) per request
    for row in rows:
        words = [
            (part, word["confidence"])
            for word in json.loads(row.words)
            for part in comparable(said(word["word"], row.language), lang).split()
        ]
        is_right = np.array(are_correct([word for word, _ in words], comparable(row.transcript, lang).split()), bool)
        above = np.array([confidence for _, confidence in words])[:, None] >= GRID  # (W, T)
        accepted.append(above.reshape(-1, len(GRID)).sum(0))
        right.append((above & is_right[:, None]).reshape(-1, len(GRID)).sum(0))
    counts, good = np.array(accepted), np.array(right)  # (U, T)
    if not len(rows) or not counts[:, 0].sum():
        raise InputError("no word of a transcribed request; bring transcripts by `asr flywheel import` first")
    total = counts[:, :1]  # (U, 1)
    costs = wrong_cost * (counts - good) + reject_cost * (total - counts)  # (U, T)
    sums, words_in_all = counts.sum(0), int(total.sum())
    with np.errstate(invalid="ignore"):
        precision = good.sum(0) / sums
    cost = costs.sum(0) / words_in_all
    best = int(np.argmin(cost))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)  # (B, U)
    saved = drawn @ (costs[:, 0] - costs[:, best]) / np.maximum(1, drawn @ total[:, 0])  # (B,)
    low, high = np.quantile(saved, [0.025, 0.975])
    return Thresholds(precision, sums / words_in_all, cost, (float(low), float(high)), words_in_all, len(rows))
