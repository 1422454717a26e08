"""NIST segment time marks (*.stm): `file channel speaker start end [<labels>] words`, as in TED-LIUM."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asr.data.importers.columns import channel_of
from asr.data.importers.notes import Notes
from asr.data.importers.reading import AUDIO_SUFFIXES, channel_count, number, text_lines
from asr.errors import InputError
from asr.literals import parse_digits
from asr.manifest import Utterance
from asr.text import nist

_IGNORED = "ignore_time_segment_in_scoring"


def stm_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.stm"), *folder.glob("stm/*.stm")])


def read_stm(path: Path, notes: Notes) -> Iterator[Utterance]:
    """The segments of a file, or of all files of a folder. Recordings lie next to them, or in a folder sph, wav or
    audio there or one folder up. Raises InputError naming the line."""
    for file in stm_files(path) if path.is_dir() else [path]:
        recordings: dict[str, tuple[str, int | None]] = {}
        read = partial(_read_line, file=file, recordings=recordings, notes=notes)
        yield from notes.each(read, text_lines(file, notes))


def _read_line(
    numbered: tuple[int, str], file: Path, recordings: dict[str, tuple[str, int | None]], notes: Notes
) -> list[Utterance]:
    line_number, line = numbered
    if line.startswith(";;"):
        return []
    segment = _segment(line.split(maxsplit=5), f"{file}:{line_number}", file, recordings, notes)
    return [segment] if segment else []


def _segment(
    fields: list[str], where: str, file: Path, recordings: dict[str, tuple[str, int | None]], notes: Notes
) -> Utterance | None:
    if len(fields) < 5:
        raise InputError(f"{where}: {len(fields)} fields; expected file channel speaker start end words")
    name, channel, speaker, start, end = fields[:5]
    start_s, end_s = number(start, f"{where}: start"), number(end, f"{where}: end")
    if not 0 <= start_s < end_s:
        raise InputError(f"{where}: goes from {start_s} s to {end_s} s; expected 0 <= start < end")
    text = fields[5] if len(fields) > 5 else ""
    extra = {}
    if match := re.match(r"<([^<>\s]*,[^<>\s]*)>(?:\s|$)", text):
        extra["labels"], text = match[1], text[match.end() :]
    if _IGNORED in text.lower() or speaker == "inter_segment_gap":
        notes.add("segments that are not scored are left out", where)
        return None
    if name not in recordings:
        recording = _recording(name, file)
        recordings[name] = recording, channel_count(recording)
    recording, channels = recordings[name]
    from_one = parse_digits(channel)
    picked = channel_of(from_one - 1 if from_one else channel, f"{where}: channel")
    return Utterance(
        id=f"{name}-{channel}-{round(start_s * 1000):08d}-{round(end_s * 1000):08d}",
        audio=recording,
        start_s=start_s,
        duration_s=round(end_s - start_s, 6),
        text=_said(text, where, notes),
        speaker=speaker,
        extra=extra,
        channel=None if channels == 1 else picked,
    )


def _said(text: str, where: str, notes: Notes) -> str:
    said = nist.plain(text)
    if said.alternations:
        notes.add("of alternatives the first is used", where)
    if said.optional:
        notes.add("optional words are kept", where)
    if said.numbered:
        notes.add("numbers of pronunciations are left out", where)
    for mark in said.noises:
        notes.add("marks of noises that stay in the texts", mark)
    return said.text


def _recording(name: str, file: Path) -> str:
    folder = file.parent
    places = [folder, *(base / sub for base in (folder, folder.parent) for sub in ("sph", "wav", "audio"))]
    suffixes = ["", *sorted(AUDIO_SUFFIXES)]
    for place in places:
        for suffix in suffixes:
            if (path := place / f"{name}{suffix}").is_file():
                return str(path.absolute())
    raise InputError(f"{file}: there is no recording '{name}' in {', '.join(map(str, places))}")
