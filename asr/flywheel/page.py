"""The report on a log as one HTML page, which loads nothing and runs no script."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from asr.config import Config
from asr.evaluation.score import score
from asr.files import atomic_write
from asr.flywheel import chosen
from asr.flywheel.log import RequestLog
from asr.flywheel.shadows import Shadowing, shadowings
from asr.flywheel.watch import Chart, Transcribed, Watched, transcribed, watch
from asr.report.html import Html, join, picture, table, tag
from asr.report.page import document

MOST_DAYS = 60  # in the table


def write_report(log: RequestLog, cfg: Config, path: Path) -> Watched:
    """Writes the page of the requests that `cfg.flywheel` names -> their figures and alarms."""
    which = chosen.days(cfg) & chosen.mode(cfg)
    watched = watch(log, which, cfg.flywheel.day_requests, cfg.flywheel.false_alarms)
    rows = transcribed(log, which)
    total = sum(watched.counts.values())
    span = f"{min(watched.counts)} to {max(watched.counts)}" if watched.counts else "no day"
    body = [
        tag("h1", f"Requests of {log.folder.resolve().name}"),
        tag("p", f"{total} requests, {span} (UTC); written {datetime.now():%Y-%m-%d %H:%M}."),
        _section("Alarms", _alarms(watched, cfg)),
        _section("Error rates of transcribed requests", _rates(rows, cfg)),
        *_shadows(shadowings(log, which, cfg.score.lang, cfg.score.resamples, cfg.seed)),
        _section("By day", _charts(watched)),
        _section("Numbers", _numbers(watched)),
    ]
    with atomic_write(path) as file:
        file.write(document(f"{log.folder.resolve().name}: requests", body))
    return watched


def _section(title: str, content: Html) -> Html:
    return tag("section", tag("h2", title), content)


def sentence(day: str, chart: Chart, since: int, is_rise: bool) -> str:
    return f"{day}: {chart.title} has {'risen' if is_rise else 'fallen'}, since about {chart.days[since]}"


def _alarms(watched: Watched, cfg: Config) -> Html:
    found = [sentence(day, chart, alarm.since, alarm.is_rise) for day, chart, alarm in watched.alarmed]
    tested = sum(len(chart.days) > 2 for chart in watched.charts)
    note = (
        f"Self-starting CUSUM of the daily figures (threshold {watched.threshold:.2f}); set to raise "
        f"{cfg.flywheel.false_alarms:g} false alarms in 30 days, all figures together, if days are independent. "
        f"{tested} figures have three days or more with at least {cfg.flywheel.day_requests} requests."
    )
    listed = tag("ul", *(tag("li", line) for line in found)) if found else tag("p", "None.")
    return join([listed, tag("p", note)])


def _rates(rows: Sequence[Transcribed], cfg: Config) -> Html:
    """By slice and model. Requests outside the slice may have been chosen, and say little about all."""
    if not rows:
        return tag("p", "No request has a transcript; `asr flywheel import` brings them.", class_="missing")
    groups: defaultdict[tuple[str, str], list[Transcribed]] = defaultdict(list)
    for row in rows:
        part = "random slice" if row.in_slice else "others"
        for model in ("all", row.model):
            groups[part, model].append(row)
    lines = [[part, model, *_rate(group, cfg)] for (part, model), group in sorted(groups.items(), reverse=True)]
    head = ["requests", "model", "WER", "95 % interval", "CER", "words", "requests", "days"]
    note = "Only the random slice measures the service: others may have been chosen for their errors."
    return join([table(head, lines), tag("p", note)])


def _rate(rows: Sequence[Transcribed], cfg: Config) -> list[str]:
    found = score(
        {row.id: row.transcript for row in rows}, {row.id: row.answered for row in rows},
        resamples=cfg.score.resamples, seed=cfg.seed, lang=cfg.score.lang,
    )  # fmt: skip
    low, high = found.wer_interval
    return [f"{found.words.rate:.2%}", f"{low:.2%} to {high:.2%}", f"{found.characters.rate:.2%}",
            str(found.words.reference), str(len(rows)), f"{rows[0].day} to {rows[-1].day}"]  # fmt: skip


def _shadows(found: Sequence[Shadowing]) -> list[Html]:
    """Candidates that heard beside (`asr serve ... candidate=FILE`)."""
    if not found:
        return []
    lines = []
    for each in found:
        errors, told = each.errors, [""] * 3
        if errors:
            low, high = errors.interval
            told = [f"{errors.first:.2%}", f"{errors.second:.2%}", f"{100 * low:+.2f} to {100 * high:+.2f}"]
        same = f"{each.same / each.requests:.1%}"
        lines.append([each.candidate, each.answered_by, str(each.requests), same, str(each.transcribed), *told])
    head = ["candidate", "answered by", "requests", "same text", "transcribed, of the slice", "WER of the candidate",
            "of the answers", "95 % interval of the difference"]  # fmt: skip
    return [_section("Candidates in the shadow", table(head, lines))]


def _charts(watched: Watched) -> Html:
    if not watched.charts:
        return tag("p", "No day has enough requests for a figure.", class_="missing")
    return picture(partial(_plot, watched.charts), "figures by day")


def _plot(charts: Sequence[Chart], path: Path) -> None:
    from matplotlib.figure import Figure

    from asr.figures import save

    figure = Figure(figsize=(9, 1.7 * len(charts)), layout="constrained")
    rows = figure.subplots(len(charts), sharex=True, squeeze=False)
    for chart, axes in zip(charts, rows[:, 0], strict=True):
        _plot_one(chart, axes)
    save(figure, path)


def _plot_one(chart: Chart, axes: Any) -> None:
    """The means with their 95 % intervals, and each alarm with the days of the change before it."""
    scale = 100 if chart.is_share else 1
    days = [datetime.strptime(day, "%Y-%m-%d") for day in chart.days]
    values = [scale * value for value in chart.values]
    errors = [scale * 1.96 * error for error in chart.errors]
    axes.errorbar(days, values, yerr=errors, fmt="o-", ms=3, lw=1, elinewidth=0.7, color="#4466aa")
    for alarm in chart.alarms:
        axes.axvline(days[alarm.day], color="#c33", lw=1)
        axes.axvspan(days[alarm.since], days[alarm.day], color="#c33", alpha=0.12, lw=0)
    axes.set_title(chart.title + (" (% of requests)" if chart.is_share else ""), fontsize=10, loc="left")
    axes.tick_params(labelsize=8)


def _numbers(watched: Watched) -> Html:
    head = ["day", "requests", *(chart.title for chart in watched.charts)]
    by_day = [dict(zip(chart.days, chart.values, strict=True)) for chart in watched.charts]
    lines = []
    for day in sorted(watched.counts, reverse=True)[:MOST_DAYS]:
        cells = [
            "" if day not in values else f"{values[day]:.1%}" if chart.is_share else f"{values[day]:.3g}"
            for chart, values in zip(watched.charts, by_day, strict=True)
        ]
        lines.append([day, str(watched.counts[day]), *cells])
    left = len(watched.counts) - len(lines)
    return join([table(head, lines), *([tag("p", f"{left} earlier days are left out.")] if left else [])])
