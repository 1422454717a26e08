"""The sound of an utterance with the words of its text and of its hypothesis, as SVG."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from asr.report.html import Html, tag

PIXELS_PER_S, NARROWEST, WIDEST = 150, 300, 9000
WAVE, LANE, LABEL = 60, 18, 16  # heights of the wave, of a lane of words, and of a word
LANES = 2  # neighbouring words take turns, so that short ones do not cover each other
COLUMNS_PER_PIXEL = 0.5


class Placed(NamedTuple):
    """A word with its times in seconds, and whether it is an error; None: not known."""

    word: str
    start_s: float
    end_s: float
    is_wrong: bool | None


def draw(x: np.ndarray, rate_hz: int, reference: Sequence[Placed], hypothesis: Sequence[Placed]) -> Html:
    """Samples (T,) between the words of the text, above, and those of the hypothesis, below."""
    duration_s = len(x) / rate_hz
    width = int(min(WIDEST, max(NARROWEST, PIXELS_PER_S * duration_s)))
    scale, lanes = width / max(duration_s, 1e-3), LANES * LANE
    height = 2 * lanes + WAVE
    parts = [
        tag("path", d=_outline(x, width, lanes + WAVE / 2), class_="wave"),
        *_words(reference, scale, 0, lanes + WAVE),
        *_words(hypothesis, scale, lanes + WAVE, lanes),
    ]
    label = "the sound, the words of the text above and those of the hypothesis below"
    return tag("svg", *parts, width=width, height=height, viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def _words(words: Iterable[Placed], scale: float, top: float, wave: float) -> Iterable[Html]:
    """Boxes from `top` on, and a line at the beginning of each word; `wave`: an end of the line, in the wave."""
    for number, placed in enumerate(words):
        x, y = placed.start_s * scale, top + number % LANES * LANE
        kind = "unmarked" if placed.is_wrong is None else "wrong" if placed.is_wrong else "right"
        box = max(2.0, (placed.end_s - placed.start_s) * scale)
        title = tag("title", f"{placed.word}: {placed.start_s:.2f} to {placed.end_s:.2f} s")
        yield tag("rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{box:.1f}", height=LABEL, class_=kind)
        yield tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{y:.1f}", y2=f"{wave:.1f}", class_=kind)
        yield tag("text", title, placed.word, x=f"{x + 3:.1f}", y=f"{y + LABEL - 4:.1f}", class_=kind)


def _outline(x: np.ndarray, width: int, middle: float) -> str:
    """The path around the highest and the lowest samples of each column."""
    columns = max(1, min(len(x), int(width * COLUMNS_PER_PIXEL)))
    edges = np.linspace(0, len(x), columns + 1).astype(int)
    peak = max(1e-6, float(np.abs(x).max(initial=0.0)))
    spans = [x[a:b] / peak for a, b in zip(edges, edges[1:], strict=False) if b > a]
    places = np.linspace(0, width, len(spans)) if spans else np.zeros(0)
    upper = [f"{at:.1f},{middle - WAVE / 2 * float(span.max()):.1f}" for at, span in zip(places, spans, strict=True)]
    lower = [f"{at:.1f},{middle - WAVE / 2 * float(span.min()):.1f}" for at, span in zip(places, spans, strict=True)]
    return f"M{' '.join([*upper, *reversed(lower)])}Z" if spans else "M0,0"
