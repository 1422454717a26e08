"""Assembles the page. A part that cannot be made is named with the reason, and the others are made."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from asr.config import Config, check_choices
from asr.errors import InputError
from asr.files import atomic_write
from asr.report import sections
from asr.report.html import Html, picture, tag
from asr.report.run import Run, read_options, read_other, read_run
from asr.report.worst import show_worst, worst
from asr.training.curves import plot_curves, read_log

POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"  # nothing is fetched or run
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1000px; margin: 2rem auto; padding: 0 1rem }
body { overflow-wrap: anywhere }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem } h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem }
table { border-collapse: collapse; margin: 0.5rem 0 } th, td { text-align: left; padding: 0.15rem 0.9rem 0.15rem 0 }
td, h1, h3, .edits b, .edits i { unicode-bidi: isolate } th { color: #555; font-weight: 600; overflow-wrap: normal }
tbody tr { border-top: 1px solid #eee } img { max-width: 100% } audio { width: 100%; max-width: 30rem; height: 2.2rem }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem } .missing { color: #7a4b00 } .wide { overflow-x: auto }
.edits { display: flex; flex-wrap: wrap; gap: 0.2rem 0.5rem; margin: 0.3rem 0 }
.edits span { display: flex; flex-direction: column } .edits b, .edits i { font-weight: normal; font-style: normal }
.substituted, .inserted, .deleted { color: #a40000; background: #fdeeee }
pre { white-space: pre-wrap; font-size: 13px }
svg text { font: 11px system-ui, sans-serif } .wave { fill: #9db4d0 }
rect.right { fill: #e3efe3 } rect.wrong { fill: #f9d6d6 } rect.unmarked { fill: #eee }
line.right { stroke: #8a8 } line.wrong { stroke: #c55 } line.unmarked { stroke: #999 }
"""


def document(title: str, parts: Sequence[Html]) -> Html:
    """A whole page, which loads nothing and runs no script."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return Html("<!DOCTYPE html>\n" + tag("html", head, tag("body", *parts), lang="en") + "\n")


def write_report(cfg: Config, path: str | Path) -> list[str]:
    """Write the page of the run `cfg.out`, compared with `cfg.report.other`, to `path`; returns what it lacks, as
    sentences.

    Raises InputError if the folder holds neither a training nor hypotheses, or if the run to compare with has none.
    """
    check_choices(cfg)
    page = Page(cfg)
    body = page.body()
    with atomic_write(path) as file:
        file.write(body)
    return page.missing


class Page:
    def __init__(self, cfg: Config):
        self.cfg, self.folder = cfg, Path(cfg.out)
        self.missing: list[str] = []
        self.run: Run | None = None
        self.why = ""  # there is no run
        try:
            self.run = read_run(cfg)
        except InputError as e:
            self.why = str(e)
            if not (self.folder / "train" / "log.jsonl").exists():
                raise InputError(f"{cfg.out} holds no training to report on, and {e}") from e
        self.other = read_other(self.run.cfg, cfg.report.other) if cfg.report.other and self.run else None

    def body(self) -> Html:
        name = self.folder.resolve().name
        made = datetime.now().strftime("%Y-%m-%d %H:%M")
        parts = [
            tag("h1", name),
            tag("p", f"Run folder {self.folder.resolve()}; {self.cfg.split} set; written {made}."),
            self.section("Error rates", self.of_run(sections.rates)),
        ]
        if self.cfg.report.other:
            parts.append(self.section(f"Compared with {self.cfg.report.other}", self.of_run(self.compare)))
        parts += [
            self.section("Training curves", lambda: picture(self.plot_log, "training curves")),
            self.section("Confusions", self.of_run(lambda run: sections.confusions(run.score))),
        ]
        if self.run and self.run.score.speakers:
            parts.append(self.section("Speakers", self.of_run(lambda run: sections.speakers(run.score))))
        parts += [
            self.section("Worst utterances", self.of_run(self.show_worst)),
            self.section("Calibration", self.of_run(sections.calibration)),
            self.section("Options of the training", self.options),
        ]
        return document(f"{name}: report", parts)

    def section(self, title: str, make: Callable[[], Html]) -> Html:
        try:
            content = make()
        except InputError as e:
            self.missing.append(f"{title}: {e}")
            content = tag("p", f"Missing: {e}", class_="missing")
        return tag("section", tag("h2", title), content)

    def of_run(self, make: Callable[[Run], Html]) -> Callable[[], Html]:
        """A part that needs hypotheses."""

        def made() -> Html:
            if self.run is None:
                raise InputError(self.why)
            return make(self.run)

        return made

    def compare(self, run: Run) -> Html:
        assert self.other
        return sections.comparison(run, self.other)

    def show_worst(self, run: Run) -> Html:
        chosen = worst(run, self.cfg.report.worst)
        if not chosen:
            return tag("p", "No utterance has an error." if self.cfg.report.worst else "None was asked for.")
        return show_worst(run, chosen, int(self.cfg.report.sound_mb * 2**20))

    def plot_log(self, path: Path) -> None:
        plot_curves(read_log(self.folder), path)

    def options(self) -> Html:
        return tag("details", tag("summary", "train/config.json"), tag("pre", read_options(self.folder)))
