"""Hypotheses in the formats of other programs.

| format | content |
|---|---|
| txt | the text; for several recordings `id<TAB>text`, one per line, as `asr score` reads it |
| json | one object with everything: words, times (s), confidences, cost, alternatives |
| jsonl | the same, one object per line and recording |
| srt, vtt | subtitles: SubRip, WebVTT (https://www.w3.org/TR/webvtt1/) |
| ctm | one word per line, `id channel start duration word confidence`, as NIST's sclite reads it |
| textgrid | Praat's TextGrid with an interval tier `words`; pauses are empty intervals |

Words that are not accepted are in json and jsonl only.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from asr.hypothesis import Hypothesis, Word

SUFFIXES = {
    "txt": ".txt",
    "json": ".json",
    "jsonl": ".jsonl",
    "srt": ".srt",
    "vtt": ".vtt",
    "ctm": ".ctm",
    "textgrid": ".TextGrid",
}
OF_MANY = ("txt", "jsonl", "ctm")  # these hold any number of recordings in one file

LINE_WIDTH, MAX_LINES = 42, 2  # of a subtitle, in columns; Korean and Chinese letters take two
MAX_CUE_S, MIN_CUE_S = 7.0, 1.0
PAUSE_S = 1.0  # a longer pause always ends a subtitle
Interval = tuple[float, float, str]  # start in s, end in s, text


def render(hypotheses: Sequence[Hypothesis], format: str) -> str:
    """The whole file for `hypotheses`: exactly one, or any number in the formats `OF_MANY`."""
    if format == "txt":
        if len(hypotheses) == 1:
            return hypotheses[0].text + "\n"
        return "".join(f"{' '.join(h.id.split())}\t{h.text}\n" for h in hypotheses)
    if format == "jsonl":
        return "".join(json.dumps(h.as_dict(), ensure_ascii=False) + "\n" for h in hypotheses)
    if format == "ctm":
        return "".join(line for h in sorted(hypotheses, key=lambda h: h.id) for line in _ctm(h))
    (hypothesis,) = hypotheses
    if format == "json":
        return json.dumps(hypothesis.as_dict(), ensure_ascii=False, indent=1) + "\n"
    return {"srt": _srt, "vtt": _vtt, "textgrid": _textgrid}[format](hypothesis)


def cues(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Subtitles: runs of words that fit two lines and `MAX_CUE_S`. A pause of `PAUSE_S` ends one. A longer run
    is split at the longest pause in the second half of the words that fit."""
    start = 0
    while start < len(words):
        end, fits = start + 1, True
        while end < len(words) and words[end].start_s - words[end - 1].end_s < PAUSE_S:
            run = words[start : end + 1]
            fits = run[-1].end_s - run[0].start_s <= MAX_CUE_S and _lines(run) is not None
            if not fits:
                break
            end += 1
        if not fits:
            middle = start + (end - start + 1) // 2
            end = max(range(end, middle - 1, -1), key=lambda k: words[k].start_s - words[k - 1].end_s)
        yield list(words[start:end])
        start = end


def _lines(words: Sequence[Word]) -> list[str] | None:
    """The words in one line, or two of similar width; None if they do not fit. A single word always fits."""
    texts = [word.word for word in words]
    whole = " ".join(texts)
    if len(texts) == 1 or _width(whole) <= LINE_WIDTH:
        return [whole]
    halves = [[" ".join(texts[:k]), " ".join(texts[k:])] for k in range(1, len(texts))]
    best = min(halves, key=lambda lines: max(map(_width, lines)))
    return best if max(map(_width, best)) <= LINE_WIDTH else None


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _subtitles(hypothesis: Hypothesis) -> Iterator[tuple[float, float, list[str]]]:
    """(start in s, end in s, lines) of each subtitle. A short one stays for `MIN_CUE_S` if the next leaves room."""
    found = list(cues([word for word in hypothesis.words if word.accepted]))
    starts = [cue[0].start_s for cue in found] + [max(hypothesis.duration_s, 0.0)]
    for cue, start_s, next_s in zip(found, starts, starts[1:], strict=False):
        end_s = min(cue[-1].end_s, start_s + MAX_CUE_S)
        end_s = max(end_s, min(start_s + MIN_CUE_S, next_s), start_s + 0.001)
        yield start_s, end_s, _lines(cue) or []


def _clock(time_s: float, point: str) -> str:
    ms = round(time_s * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _srt(hypothesis: Hypothesis) -> str:
    blocks = (
        f"{number}\n{_clock(start_s, ',')} --> {_clock(end_s, ',')}\n" + "\n".join(lines) + "\n"
        for number, (start_s, end_s, lines) in enumerate(_subtitles(hypothesis), 1)
    )
    return "\n".join(blocks)


def _vtt(hypothesis: Hypothesis) -> str:
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    blocks = (
        f"\n{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n" + "\n".join(lines).translate(escapes) + "\n"
        for start_s, end_s, lines in _subtitles(hypothesis)
    )
    return "WEBVTT\n" + "".join(blocks)


def _ctm(hypothesis: Hypothesis) -> Iterator[str]:
    id = "_".join(hypothesis.id.split())
    for word in hypothesis.words:
        if word.accepted:
            duration_s = word.end_s - word.start_s
            yield f"{id} 1 {word.start_s:.3f} {duration_s:.3f} {word.word} {word.confidence:.4f}\n"


def _textgrid(hypothesis: Hypothesis) -> str:
    words = [(word.start_s, word.end_s, word.word) for word in hypothesis.words if word.accepted]
    return textgrid({"words": words}, hypothesis.duration_s)


def textgrid(tiers: Mapping[str, Sequence[Interval]], duration_s: float) -> str:
    """Praat's TextGrid: each tier has a name and intervals (start in s, end in s, text) in order of time.

    https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html: intervals cover the whole without a gap, so
    empty ones stand between those given. One that begins before the last one's end is cut.
    """
    length_s = max([duration_s, *(end_s for intervals in tiers.values() for _, end_s, _ in intervals)])
    parts = [
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {length_s}\ntiers? <exists>\n'
        f"size = {len(tiers)}\nitem []:\n"
    ]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        covering = list(_covering(intervals, length_s))
        parts.append(
            f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n'
            f"        xmin = 0\n        xmax = {length_s}\n        intervals: size = {len(covering)}\n"
        )
        parts += [
            f"        intervals [{place}]:\n            xmin = {start_s}\n            xmax = {end_s}\n"
            f'            text = "{text}"\n'
            for place, (start_s, end_s, text) in enumerate(covering, 1)
        ]
    return "".join(parts)


def _covering(intervals: Sequence[Interval], length_s: float) -> Iterator[Interval]:
    """The intervals with quotes doubled, and empty ones between them."""
    at_s = 0.0
    for start_s, end_s, text in intervals:
        start_s = max(start_s, at_s)
        if end_s <= start_s:
            continue
        if start_s > at_s:
            yield at_s, start_s, ""
        yield start_s, end_s, text.replace('"', '""')
        at_s = end_s
    if at_s < length_s or not at_s:
        yield at_s, length_s, ""
