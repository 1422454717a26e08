"""The verbs of the flywheel: see asr/cli/verbs.py."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.inputs import needed_output, only_input
from asr.config import Config
from asr.errors import InputError, needed

if TYPE_CHECKING:
    from asr.flywheel.log import RequestLog

SHOWN = 5  # ids in a message


def export(cfg: Config) -> None:
    """Writes logged requests as a manifest with copies of their sounds.

    asr flywheel export log=exp/log output=exp/logged.jsonl [part=slice] [transcribed=no] [since=DAY] [until=DAY]

    `text` is the transcript, where there is one; `answered` is what the service recognised. The sounds go to the folder
    of the manifest's name, or to `sounds`, which may be in an object store. Put `text` into the lines, and bring them
    back by `asr flywheel import`.
    """
    path = Path(needed_output(cfg, "the manifest"))
    with _log(cfg) as log:
        from asr.flywheel import chosen, exchange
        from asr.flywheel.request import FOUND_UNUSABLE, TRANSCRIBED

        transcribed = {"all": None, "yes": TRANSCRIBED, "no": ~TRANSCRIBED & ~FOUND_UNUSABLE}[cfg.flywheel.transcribed]
        which = chosen.days(cfg) & chosen.part(cfg) & chosen.key(cfg) & chosen.mode(cfg)
        which = which if transcribed is None else which & transcribed
        written, silent = exchange.export(log, which, path, cfg.flywheel.sounds)
    print(f"{written} requests -> {path}" + (f"; {silent} without sound are left out" if silent else ""))


def take_back(cfg: Config) -> None:
    """Brings transcripts into the log: the texts of a manifest, by the ids of requests.

    asr flywheel import transcribed.jsonl log=exp/log

    A later transcript of a request replaces the earlier one. "" means that nothing is said; a line without a text is
    left out, unless `asr flywheel agreement` marks it as unusable. The manifest of `asr serve feedback export` serves,
    too.
    """
    from asr import manifest

    utterances = manifest.read(only_input(cfg, "a manifest with transcripts"))
    with _log(cfg) as log:
        from asr.flywheel.exchange import take_back

        kept, unusable, unknown, untranscribed = take_back(log, utterances)
    told = f"{kept} transcripts" + (f"; {unusable} requests are unusable" if unusable else "")
    print(told + (f"; {untranscribed} lines have no text" if untranscribed else ""))
    _warn(unknown, "are not in the log")


def delete(cfg: Config) -> None:
    """Deletes logged requests with their texts, transcripts and sounds.

    asr flywheel delete ID... log=exp/log
    asr flywheel delete key="phone app" log=exp/log [since=DAY] [until=DAY]

    In SQLite the rows are overwritten; a file system may keep the blocks of deleted sounds until it uses them again.
    Copies that `export`, `select` and `retrain` wrote are not touched.
    """
    with _log(cfg) as log:
        from asr.flywheel import chosen
        from asr.flywheel.log import blocks
        from asr.flywheel.request import REQUESTS

        ids, given = cfg.input, (cfg.flywheel.key, cfg.flywheel.since, cfg.flywheel.until)
        if not ids and given == (None, None, None):
            raise InputError("nothing to delete is named: give ids, key=NAME, or until=DAY")
        which = chosen.days(cfg) & chosen.key(cfg)
        parts = [which & REQUESTS.c.id.in_(block) for block in blocks(ids)]
        known = {row.id for part in parts for row in log.rows(chosen.ids(part))}
        has_key = bool(log.rows(chosen.ids(chosen.key(cfg)).limit(1)))
        deleted = sum(log.delete(part) for part in parts or [which])
        is_scrubbed = log.database.scrub()
    print(f"{deleted} requests deleted")
    _warn([id for id in dict.fromkeys(ids) if id not in known], "name no such request")
    if not has_key and cfg.flywheel.key is not None:
        print(f"asr: warning: no request has the key '{cfg.flywheel.key}'; name it as `asr serve keys add` did",
              file=sys.stderr)  # fmt: skip
    if not is_scrubbed:
        print("asr: warning: other processes use the database, so that its log may still hold what was deleted; repeat "
              "the command", file=sys.stderr)  # fmt: skip


def select(cfg: Config) -> None:
    """Chooses which requests to transcribe next, and writes them as a manifest.

    asr flywheel select log=exp/log output=exp/next.jsonl [minutes=60] [random_share=0.2] [known=train.jsonl]

    The recogniser's expected errors decide, by its confidences: requests with many in words that are not covered yet
    come first, and words that `known` lacks count twice; `lang=en` compares them without capitals and punctuation.
    `random_share` of the minutes is drawn at random. The random slice is left out: transcribe it by
    `asr flywheel export part=slice`, to measure. Requests of the mode `word` are chosen with mode=word only, as
    `asr flywheel retrain` takes them.
    """
    path = Path(needed_output(cfg, "the manifest"))
    known = _words(cfg.flywheel.known)
    with _log(cfg) as log:
        from asr.flywheel import chosen, exchange
        from asr.flywheel.select import choose

        which = chosen.days(cfg) & chosen.key(cfg) & chosen.of_speech(cfg)
        found = choose(log, which, cfg.flywheel.minutes, cfg.flywheel.random_share, known, cfg.score.lang)
        if not found.chosen + found.drawn:
            raise InputError(
                f"no request fits: those with doubtful words into flywheel.minutes={cfg.flywheel.minutes:g}, and the "
                f"others, which are only drawn at random, into flywheel.random_share={cfg.flywheel.random_share:g} of "
                "that time; raise one of them"
            )
        extra = {id: {"chosen": "doubtful"} for id in found.chosen} | {id: {"chosen": "random"} for id in found.drawn}
        exchange.write(log, found.chosen + found.drawn, path, extra, cfg.flywheel.sounds)
    print(f"{found.summary()}\n-> {path}")


def report(cfg: Config) -> None:
    """Writes one HTML page about the logged requests: figures by day with alarms, error rates of the transcribed.

    asr flywheel report log=exp/log [since=DAY] [until=DAY] [false_alarms=0.2] [output=FILE.html]

    Confidence, rejections, level, SNR, length, modes and languages are tested for drift by a self-starting CUSUM, whose
    false alarms in 30 days are set by `false_alarms`.
    """
    with _log(cfg) as log:
        from asr.flywheel.page import sentence, write_report

        path = page_path(cfg)
        watched = write_report(log, cfg, path)
    for day, chart, alarm in watched.alarmed:
        print(f"alarm: {sentence(day, chart, alarm.since, alarm.is_rise)}")
    print(f"{sum(watched.counts.values())} requests of {len(watched.counts)} days -> {path}")


def page_path(cfg: Config) -> Path:
    """Where the page is written."""
    return Path(cfg.output or Path(cfg.serve.log or "") / "report.html")


def threshold(cfg: Config) -> None:
    """Finds the confidence below which to reject words: precision against coverage, and the cheapest choice.

    asr flywheel threshold log=exp/log [wrong_cost=5] [reject_cost=1] [part=slice] [mode=word]

    It needs transcribed requests. Those of the random slice (`part=slice`) tell about the service; chosen ones have
    more errors than others.
    """
    with _log(cfg) as log:
        from asr.flywheel import chosen
        from asr.flywheel.threshold import thresholds
        from asr.flywheel.watch import transcribed

        which = chosen.days(cfg) & chosen.part(cfg) & chosen.key(cfg) & chosen.mode(cfg)
        rows = transcribed(log, which)
        found = thresholds(rows, cfg.flywheel.wrong_cost, cfg.flywheel.reject_cost, cfg.score.lang, cfg.seed)
    print(found.summary())
    if others := sum(not row.in_slice for row in rows):
        print(f"asr: warning: {others} of these requests are not of the random slice; if they were chosen, the service "
              "makes fewer errors than they show; part=slice leaves them out", file=sys.stderr)  # fmt: skip


def _warn(ids: Sequence[str], what: str) -> None:
    """Names the first of the ids that were given in vain."""
    if ids:
        more = ", ..." if len(ids) > SHOWN else ""
        print(f"asr: warning: {len(ids)} ids {what}: {', '.join(ids[:SHOWN])}{more}", file=sys.stderr)


def _words(path: str | None) -> set[str] | None:
    """The words of a text file or of the texts of a manifest."""
    if path is None:
        return None
    from asr.lm.texts import sentences

    return {word for sentence in sentences([path]) for word in sentence.split()}


def _log(cfg: Config) -> "AbstractContextManager[RequestLog]":
    """The log that `serve.log` names. Raises InputError if there is none, or if its database fails."""
    with needed("serve", "asr flywheel"):
        from asr.database import closing
        from asr.flywheel.log import RequestLog
    return closing(RequestLog.existing(cfg.serve.log, cfg.serve.log_database))
