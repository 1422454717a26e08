"""Reports of a scored set: a text with aligned utterances, JSON, and plots (PNG) of errors and speakers."""

import json
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asr.evaluation.score import Counts, Score, UtteranceScore
from asr.figures import save
from asr.files import atomic_write

FILES = ("score.txt", "score.json", "errors.png", "speakers.png")
_WIDTH = 100  # columns of the aligned text
_ERROR_NAMES = {"S": "substitutions", "D": "deletions", "I": "insertions"}


def write(score: Score, folder: str | Path, reference: str | None = None) -> list[Path]:
    """Write score.txt, score.json, errors.png and, if speakers are known, speakers.png; returns their paths.

    `reference`: name of the reference file, recorded in score.json.
    """
    folder = Path(folder)
    paths = [folder / name for name in FILES[:3]]
    with atomic_write(paths[0]) as file:
        file.write(report_text(score))
    with atomic_write(paths[1]) as file:
        json.dump({"reference": reference, **score.as_dict()}, file, ensure_ascii=False, indent=2)
    plot_errors(score, paths[2])
    if score.speakers:
        paths.append(folder / FILES[3])
        plot_speakers(score, paths[-1])
    return paths


def summary_text(score: Score) -> str:
    """WER and CER with intervals, and the warnings, as printed on the terminal; for Korean also jamo and spaces."""
    w, c = score.words, score.characters
    wrong = sum(u.words.errors > 0 for u in score.utterances)
    is_korean = score.lang == "ko"
    lines = [
        f"WER {_percent(w)} [{_interval(score.wer_interval)}]  {_breakdown(w)} in {w.reference} words"
        + (f"; {_percent(score.respaced)} without spaces" if is_korean else ""),
        f"CER {_percent(c)} [{_interval(score.cer_interval)}]  {_breakdown(c)} in {c.reference} characters; "
        f"{_percent(score.letters)} without spaces",
        *(
            [f"jamo {_percent(score.jamo)} without spaces; spacing F1 {100 * score.spaces.f1:.2f} %"]
            if is_korean
            else []
        ),
        *(
            ["compared without punctuation, in lower case (score.lang=none: as they are)"]
            if score.lang != "none"
            else []
        ),
        f"{wrong} of {len(score.utterances)} utterances have an error; brackets: 95 % bootstrap intervals",
        *(f"warning: {sentence}" for sentence in score.warnings()),
    ]
    return "\n".join(lines) + "\n"


def report_text(score: Score) -> str:
    """The whole report: summary, speakers, confusions, and the alignment of each utterance with an error."""
    parts = [summary_text(score)]
    if score.speakers:
        parts.append(_speaker_table(score))
    parts += [_confusion_table(score, op) for op in _ERROR_NAMES if score.confusions(op, 1)]
    parts += [_aligned(u) for u in score.utterances if u.words.errors]
    return "\n".join(parts)


def display_width(text: str) -> int:
    """Width of a text in terminal columns: two per wide character (Hangul, Han), none per combining mark."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def plot_errors(score: Score, path: str | Path) -> None:
    """Bar charts of the substitutions, deletions and insertions, and of the most frequent ones."""
    pairs = [(op, *pair) for op in _ERROR_NAMES for pair in score.confusions(op, 8)]
    labels = [f"{ref or '·'} → {hyp or '·'}" for _, ref, hyp, _ in pairs]
    colours = dict(zip("SDI", ("C0", "C1", "C2"), strict=True))
    with _readable(labels) as (labels, note):
        figure = Figure(figsize=(10, max(3.5, 0.25 * len(labels) + 1.2)), layout="constrained")
        totals, most = figure.subplots(1, 2, width_ratios=[1, 2])
        counts = (score.words.substitutions, score.words.deletions, score.words.insertions)
        bars = totals.bar(list(_ERROR_NAMES.values()), counts, color=list(colours.values()))
        totals.bar_label(bars)
        totals.yaxis.set_major_locator(MaxNLocator(integer=True))
        totals.set_title(f"WER {_percent(score.words)} of {score.words.reference} words")
        totals.set_ylabel("words")
        most.barh(range(len(pairs)), [p[3] for p in pairs], color=[colours[p[0]] for p in pairs])
        most.set_yticks(range(len(pairs)), labels)
        most.invert_yaxis()
        most.xaxis.set_major_locator(MaxNLocator(integer=True))
        most.set_title("most frequent (reference → hypothesis)" + note)
        save(figure, path)


def plot_speakers(score: Score, path: str | Path) -> None:
    """Bar chart of WER and CER per speaker."""
    with _readable(list(score.speakers)) as (labels, note):
        figure = Figure(figsize=(min(60.0, max(5.0, 0.4 * len(labels) + 2)), 4), layout="constrained")
        axes = figure.subplots()
        rates = [[100 * min(c.rate, 1e3) for c in pair] for pair in score.speakers.values()]
        places = range(len(labels))
        axes.bar([x - 0.2 for x in places], [r[0] for r in rates], 0.4, label="WER")
        axes.bar([x + 0.2 for x in places], [r[1] for r in rates], 0.4, label="CER")
        axes.axhline(100 * min(score.wer, 1e3), color="C0", linewidth=0.8, linestyle="--")
        axes.set_xticks(places, labels, rotation=90 if len(labels) > 8 else 0)
        axes.set_ylabel("%")
        axes.set_title("errors by speaker (dashed: overall WER)" + note)
        axes.legend()
        save(figure, path)


def _speaker_table(score: Score) -> str:
    width = max(display_width(s) for s in [*score.speakers, "speaker"])
    lines = [f"{_pad('speaker', width)}      WER      CER   words    S    D    I"]
    for speaker, (w, c) in score.speakers.items():
        lines.append(
            f"{_pad(speaker, width)} {_percent(w):>8} {_percent(c):>8} {w.reference:7}"
            f" {w.substitutions:4} {w.deletions:4} {w.insertions:4}"
        )
    return "\n".join(lines) + "\n"


def _confusion_table(score: Score, op: str) -> str:
    lines = [f"most frequent {_ERROR_NAMES[op]}"]
    for ref, hyp, times in score.confusions(op):
        lines.append(f"{times:5}  " + " -> ".join(word for word in (ref, hyp) if word))
    return "\n".join(lines) + "\n"


def _aligned(utterance: UtteranceScore) -> str:
    """Aligned REF, HYP and op rows, with cells padded to equal width and lines wrapped at `_WIDTH` columns."""
    c = utterance.words
    lines = [f"{utterance.id} ({utterance.speaker}): {_breakdown(c)} in {c.reference} words"]
    rows: list[list[str]] = [[], [], []]
    used = 0
    for op, ref, hyp in utterance.edits:
        width = max(display_width(ref), display_width(hyp), 1)
        if used and used + width > _WIDTH:
            lines += _close_rows(rows)
            used = 0
        cells = (ref or "*" * width, hyp or "*" * width, "" if op == "C" else op)
        for row, cell in zip(rows, cells, strict=True):
            row.append(_pad(cell, width))
        used += width + 1
    return "\n".join(lines + _close_rows(rows)) + "\n"


def _close_rows(rows: list[list[str]]) -> list[str]:
    lines = [f"  {name} {' '.join(row)}".rstrip() for name, row in zip(("REF", "HYP", "op "), rows, strict=True)]
    for row in rows:
        row.clear()
    return lines


def _pad(text: str, width: int) -> str:
    return text + " " * (width - display_width(text))


def _percent(counts: Counts) -> str:
    return f"{100 * counts.rate:.2f} %"


def _interval(interval: tuple[float, float]) -> str:
    return ", ".join(f"{100 * x:.2f}" for x in interval)


def _breakdown(c: Counts) -> str:
    return f"{c.errors} errors (S {c.substitutions}, D {c.deletions}, I {c.insertions})"


@contextmanager
def _readable(labels: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Select fonts that have all characters of the labels. If no font has a character, spell it in Latin letters.

    Yields the labels to draw and a note for the title. Warns if characters were replaced.
    """
    fonts, missing = _fonts_for("".join(labels))
    note = ""
    if missing:
        labels = ["".join(_latin(c) if ord(c) in missing else c for c in label) for label in labels]
        note = "\n(in Latin letters: no installed font has the characters)"
        warnings.warn(
            f"no installed font has the characters {''.join(map(chr, sorted(missing)[:10]))}: the plots spell them in "
            "Latin letters; install a font such as fonts-noto-cjk",
            stacklevel=3,
        )
    with matplotlib.rc_context({"font.family": fonts}):
        yield [textwrap.shorten(label, 40, placeholder="…").replace("$", r"\$") for label in labels], note


def _latin(letter: str) -> str:
    """The last word of a character's Unicode name: HANGUL SYLLABLE HAN -> han."""
    return unicodedata.name(letter, f"U+{ord(letter):04X}").split()[-1].lower()


def _fonts_for(text: str) -> tuple[list[str], set[int]]:
    """Font families for the text: the default, and one other if it has all missing characters. Also returns the
    characters that no font has."""
    usual = "DejaVu Sans"  # comes with matplotlib
    missing = {ord(c) for c in text if not c.isspace()} - _characters_of(font_manager.findfont(usual))
    if not missing:
        return [usual], set()
    fonts = [f for f in font_manager.fontManager.ttflist if not f.name.startswith("Last Resort")]  # has only boxes
    for entry in sorted(fonts, key=lambda f: (f.weight != 400, f.style != "normal", f.name)):
        if missing <= _characters_of(entry.fname):
            return [usual, entry.name], set()
    return [usual], missing


def _characters_of(font: str) -> set[int]:
    return set(font_manager.get_font(font).get_charmap())
