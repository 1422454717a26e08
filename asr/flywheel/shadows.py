"""What candidates heard beside the answers: how often both agree, and who errs less on transcribed requests."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select

from asr.evaluation.comparison import Comparison, paired_bootstrap
from asr.evaluation.score import comparable, error_counts, lang_of
from asr.flywheel.log import RequestLog
from asr.flywheel.request import REQUESTS, SHADOWS, TEXTS, TRANSCRIPTS
from asr.flywheel.said import said


@dataclass(frozen=True)
class Shadowing:
    """A candidate, and the version whose requests it heard. `errors`: of words, the candidate's first, on the
    transcribed requests of the random slice; None if there are none."""

    candidate: str
    answered_by: str
    requests: int
    same: int  # texts
    transcribed: int  # of the random slice
    errors: Comparison | None


def shadowings(
    log: RequestLog, which: ColumnElement[bool], lang: str = "auto", resamples: int = 1000, seed: int = 1
) -> list[Shadowing]:
    """The candidates that heard the requests `which`, by name."""
    columns = (
        SHADOWS.c.model.label("candidate"), REQUESTS.c.model.label("answered_by"), REQUESTS.c.in_slice,
        REQUESTS.c.language, SHADOWS.c.text.label("heard"), TEXTS.c.text.label("answer"),
        TRANSCRIPTS.c.text.label("transcript"),
    )  # fmt: skip
    joined = SHADOWS.join(REQUESTS, REQUESTS.c.id == SHADOWS.c.id).join(TEXTS, TEXTS.c.id == SHADOWS.c.id)
    joined = joined.outerjoin(TRANSCRIPTS, TRANSCRIPTS.c.id == SHADOWS.c.id)
    pairs = defaultdict(list)
    for row in log.rows(select(*columns).select_from(joined).where(which).order_by(REQUESTS.c.time_s, REQUESTS.c.id)):
        pairs[row.candidate, row.answered_by].append(row)
    found = []
    for (candidate, answered_by), rows in sorted(pairs.items()):
        told = [row for row in rows if row.in_slice and row.transcript is not None]
        own = lang_of((row.transcript for row in told), lang)
        refs, *hyps = (
            [comparable(said(getattr(row, name), row.language), own) for row in told]
            for name in ("transcript", "heard", "answer")
        )
        candidates, answers = ([error_counts(*each, "wer") for each in zip(refs, texts, strict=True)] for texts in hyps)
        errors = paired_bootstrap(candidates, answers, resamples, seed) if told else None
        same = sum(row.heard == row.answer for row in rows)
        found.append(Shadowing(candidate, answered_by, len(rows), same, len(told), errors))
    return found
