"""Files of a corpus: their lines, numbers and paths."""

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.data.importers.notes import Notes
from asr.errors import InputError
from asr.filekinds import SOUND
from asr.manifest import FIELDS, MISTAKEN
from asr.textfiles import lines

AUDIO_SUFFIXES = frozenset(SOUND)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_lines(path: Path, notes: Notes, blank: bool = False) -> Iterator[tuple[int, str]]:
    """The numbered lines of a file in UTF-8, or in UTF-16 with a byte order mark; blank lines only when asked for.

    Raises InputError for a file that cannot be read, and naming the line that is not UTF-8.
    """
    for number, line in _decoded(path, notes):
        if "\0" in line:
            raise InputError(f"{path}:{number}: NUL in the line; it is binary, or UTF-16 without a byte order mark")
        if "\r" in line:
            raise InputError(
                f"{path}:{number}: a carriage return inside the line; end lines with LF or CRLF: mac2unix FILE"
            )
        if blank or line.strip():
            yield number, line


def _decoded(path: Path, notes: Notes) -> Iterator[tuple[int, str]]:
    if _head(path).startswith(_UTF16):
        notes.add("read as UTF-16", path.name)
        try:
            text = path.read_bytes().decode("utf-16")
        except UnicodeDecodeError as e:
            raise InputError(f"cannot read the corpus file {path}: not UTF-16 ({e}); save it as UTF-8") from e
        yield from enumerate((line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")), 1)
        return
    try:
        yield from lines(path, "corpus file", "text")
    except InputError as e:
        if isinstance(e.__cause__, UnicodeDecodeError):
            raise InputError(f"{e}; convert it: iconv -f WINDOWS-1252 -t UTF-8 (-f CP949 for Korean)") from e
        raise


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4)
    except OSError:
        return b""  # `lines` reports it


def first_line(path: Path) -> str:
    """The first line that is not blank; empty if there is none."""
    return next(text_lines(path, Notes()), (0, ""))[1]


def read_words(path: Path, notes: Notes) -> str:
    """All words of a text file, with one space between them."""
    return one_line(" ".join(line for _, line in text_lines(path, notes)))


def one_line(text: str) -> str:
    return " ".join(text.split())


def number(value: Any, where: str, unit: str = "seconds") -> float:
    """A finite number. Raises InputError, beginning with `where`, for anything else."""
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not abs(found) < float("inf"):
        raise InputError(f"{where} is {value!r}; expected {unit}")
    return found


def locate(path: str, *folders: Path) -> str:
    """The absolute path of a file of a corpus: in the first of the folders that has it, then, as in Kaldi, from the
    working directory; the first folder if none has it."""
    if "://" in path:
        raise InputError(f"'{path}' is an address, not a file; download the recording and give its path")
    if "\\" in path and not any(os.path.exists(os.path.join(folder, path)) for folder in folders):
        path = path.replace("\\", "/")  # as written on Windows
    inside = [os.path.join(folder, path) for folder in folders]
    return os.path.abspath(next((p for p in (*inside, path) if os.path.exists(p)), inside[0]))


def channel_count(path: str) -> int | None:
    """The number of channels of a recording; None if it cannot be read."""
    from asr.features import audio

    try:
        return audio.info(path).channels
    except InputError:
        return None


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders in alphabetical order, also behind links, without hidden ones."""
    found, entered = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in entered else [name for name in folders if not name.startswith(".")]
        found += [] if real in entered else [Path(parent, name) for name in files if not name.startswith(".")]
        entered.add(real)
    return sorted(found)


def recordings_below(folder: Path) -> list[Path]:
    """The recordings among `files_below`."""
    return [p for p in files_below(folder) if p.suffix.lower() in AUDIO_SUFFIXES]


def extra_name(name: str) -> str:
    """The name of an extra field: its own, unless a manifest uses that for something else."""
    return f"source_{name}" if name in FIELDS | MISTAKEN else name


def note_unused(folder: Path, used: set[Path], notes: Notes) -> None:
    """Name the files of a corpus that an import does not read; more than five of a kind by their suffix."""
    by_suffix: dict[str, list[Path]] = {}
    used = {p.absolute() for p in used}
    for p in files_below(folder):
        if p.absolute() not in used:
            by_suffix.setdefault(p.suffix.lower(), []).append(p)
    for suffix, paths in by_suffix.items():
        names = [str(p.relative_to(folder)) for p in paths]
        for name in names if len(names) <= 5 else [f"{len(names)} {f'*{suffix}' if suffix else 'without suffix'}"]:
            notes.name("files that are not used", name)


def speaker_of(recording: Path, folder: Path, notes: Notes) -> str | None:
    """The speaker, if folder and file are named after one: 84/121/84-121-0000, p225/p225_001, S0002/BAC009S0002W0122,
    FCJF0/SA1."""
    parts = recording.relative_to(folder).parts[:-1]
    is_timit = len(parts) > 1 and re.fullmatch(r"dr\d/[fm][a-z]{3}\d", f"{parts[-2]}/{parts[-1]}", re.I)
    speaker = None
    if len(parts) > 1 and re.match(rf"{re.escape(parts[-2])}([-_]){re.escape(parts[-1])}\1", recording.stem):
        speaker = parts[-2]
    elif parts and re.search(r"\d", parts[-1]) and (parts[-1] in recording.stem or is_timit):
        speaker = parts[-1]
    if speaker:
        notes.add("speakers are taken from the names of folders", speaker)
    return speaker
