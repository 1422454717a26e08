"""Folders of recordings with lists of transcripts: LibriSpeech, MLS, AISHELL, CMU Arctic, and LJSpeech's metadata.

LibriSpeech  84/121/84-121.trans.txt: id words, next to id.flac; the speaker is the first folder
others       transcripts.txt, *transcript*.txt, txt.done.data, PROMPTS: id words, with id.wav below the same folder
LJSpeech     metadata.csv: id|as written|as spoken, without header, with wavs/id.wav
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from asr.data.importers.notes import Notes
from asr.data.importers.reading import (
    AUDIO_SUFFIXES,
    files_below,
    locate,
    note_unused,
    one_line,
    recordings_below,
    speaker_of,
    text_lines,
)
from asr.errors import InputError
from asr.manifest import Utterance

_LISTS = re.compile(r".*\.trans\.txt|.*transcript.*\.txt|txt\.done\.data|PROMPTS", re.I)
_FESTIVAL = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


def transcript_lists(folder: Path) -> list[Path]:
    """The lists of transcripts in a folder and its subfolders."""
    return [p for p in files_below(folder) if _LISTS.fullmatch(p.name)]


def read_transcripts(folder: Path, notes: Notes) -> Iterator[Utterance]:
    """One utterance per recording that a list names. Recordings without a line are imported without text.

    Raises InputError if a list belongs to no recording, or an id occurs twice in a list.
    """
    recordings = recordings_below(folder)
    by_stem: dict[str, list[Path]] = {}
    for p in recordings:
        by_stem.setdefault(p.stem, []).append(p)
    texts: dict[Path, tuple[str, Path]] = {}  # recording -> text, list
    lists = transcript_lists(folder)
    for path in lists:
        found = 0
        for where, id, text in _entries(path, notes):
            stem = Path(id).stem if Path(id).suffix.lower() in AUDIO_SUFFIXES else Path(id).name
            if (nearest := _nearest(by_stem.get(stem, []), path)) is None:
                notes.add("transcripts without a recording, or with several", f"{id} ({path.name})")
                continue
            if nearest in texts:
                raise InputError(f"{where}: '{id}' has two transcripts, the other in {texts[nearest][1]}; keep one")
            texts[nearest] = text, path
            found += 1
        if not found:
            notes.add("lists without any recording, not used", str(path))
    if not texts:
        raise InputError(f"{folder}: the lists of transcripts name none of the {len(recordings)} recordings; expected "
                         "lines 'id words' with the recordings' names")  # fmt: skip
    note_unused(folder, {*recordings, *lists}, notes)
    for p in recordings:
        words = texts[p][0] if p in texts else None
        yield Utterance(
            p.stem if len(by_stem[p.stem]) == 1 else "",
            str(p.absolute()),
            text=words,
            speaker=speaker_of(p, folder, notes),
            extra={"text": None} if words is None else {},
        )


def _nearest(recordings: list[Path], path: Path) -> Path | None:
    """The recording that shares the most folders with a list; None if there is none, or more than one."""
    shared = [len(os.path.commonpath([p, path])) for p in recordings]
    nearest = [p for p, length in zip(recordings, shared, strict=True) if length == max(shared)]
    return nearest[0] if len(nearest) == 1 else None


def _entries(path: Path, notes: Notes) -> Iterator[tuple[str, str, str]]:
    for number, line in text_lines(path, notes):
        if match := _FESTIVAL.fullmatch(line.strip()):
            yield f"{path}:{number}", match[1], one_line(match[2].replace('\\"', '"'))
            continue
        id, _, text = line.strip().replace("\t", " ", 1).partition(" ")
        yield f"{path}:{number}", id, one_line(text)


def is_headerless(line: str) -> bool:
    """Whether a line is one of LJSpeech's, `id|text|text`, or of a list `file|text` as text-to-speech recipes have."""
    cells = line.split("|")
    return len(cells) in (2, 3) and bool(re.fullmatch(r"[^\s|]+", cells[0])) and bool(cells[-1].strip())


def read_ljspeech(path: Path, notes: Notes) -> Iterator[Utterance]:
    """Lines `id|as written|as spoken`, `id|text` or `file|text`. The text as spoken is used.

    Raises InputError for lines with other numbers of fields, and for an id that occurs twice.
    """
    seen: dict[str, int] = {}
    for number, line in text_lines(path, notes):
        where, cells = f"{path}:{number}", [cell.strip() for cell in line.split("|")]
        if len(cells) not in (2, 3) or not cells[0]:
            raise InputError(f"{where}: {len(cells)} fields; expected id|as written|as spoken, or id|text")
        if seen.setdefault(cells[0], number) != number:
            raise InputError(f"{where}: '{cells[0]}' occurs twice, first on line {seen[cells[0]]}; keep one")
        is_file = Path(cells[0]).suffix.lower() in AUDIO_SUFFIXES
        if is_file and len(cells) == 3 and not cells[1].isdigit():
            raise InputError(f"{where}: the middle of file|...|text may be a speaker or a text; add a header line: "
                             "audio|speaker|text")  # fmt: skip
        written, text = ("", cells[-1]) if len(cells) == 2 or is_file else (cells[1], cells[2])
        if not text and written:
            text = written
            notes.add("without a text as spoken, the text as written is used", cells[0])
        extra = {"text_written": one_line(written)} if written and written != text else {}
        if not text:
            extra["text"] = None  # type: ignore[assignment]
        file = cells[0] if is_file else _with_suffix(cells[0], path.parent)
        yield Utterance("" if is_file else cells[0], locate(file, path.parent, path.parent / "wavs"),
                        text=one_line(text) or None, speaker=cells[1] if is_file and len(cells) == 3 else None,
                        extra=dict(extra))  # fmt: skip


def _with_suffix(id: str, folder: Path) -> str:
    """The file of an id in wavs/ or next to the metadata; wavs/ID.wav if there is none."""
    names = [f"{inside}{id}{suffix}" for inside in ("wavs/", "") for suffix in sorted(AUDIO_SUFFIXES)]
    return next((name for name in names if (folder / name).exists()), f"wavs/{id}.wav")
