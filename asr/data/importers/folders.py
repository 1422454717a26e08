"""Folders of recordings, each with a text file of the same name.

The text is `NAME.txt`, `NAME.lab`, or LibriTTS's `NAME.normalized.txt`, next to the recording, in any case of letters;
or, as in VCTK, in a folder txt/ next to the folder of the recordings. TIMIT's texts begin with two sample numbers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from asr.data.importers.notes import Notes
from asr.data.importers.reading import (
    AUDIO_SUFFIXES,
    files_below,
    note_unused,
    read_words,
    recordings_below,
    speaker_of,
)
from asr.errors import InputError
from asr.manifest import Utterance

_SUFFIXES = (".normalized.txt", ".txt", ".lab")
_TIMIT = re.compile(r"0 \d{4,} ")
_SUBTITLES = re.compile(r"\d\d:\d\d[,.]\d{3} --> ")
_HTK = re.compile(r"\d+ \d+ ")


def text_files(folder: Path, recordings: list[Path]) -> dict[Path, Path]:
    """recording -> its text file."""
    files: dict[tuple[Path, str], Path] = {}  # by folder and name, as it is or in lower case
    for p in files_below(folder):
        if p.name.lower().endswith(_SUFFIXES):
            files[p.parent, p.name] = p
            files.setdefault((p.parent, p.name.lower()), p)
    found = {}
    for p in recordings:
        places = [(p.parent, p.stem), *_vctk(p, folder)]
        names = [(place, f"{stem}{suffix}") for place, stem in places for suffix in _SUFFIXES]
        for place, name in names:
            if text := files.get((place, name)) or files.get((place, name.lower())):
                found[p] = text
                break
    return found


def _vctk(recording: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """wav48/p225/p225_001_mic1.flac has its text in txt/p225/p225_001.txt."""
    parts = recording.relative_to(folder).parts
    stem = re.sub(r"_mic\d$", "", recording.stem)
    for depth in range(len(parts) - 1):
        yield folder.joinpath(*parts[:depth], "txt", *parts[depth + 1 : -1]), stem


def read_folder(folder: Path, notes: Notes) -> Iterator[Utterance]:
    """One utterance per recording; without text if the others have one. Raises InputError if none has one."""
    recordings = recordings_below(folder)
    if not recordings:
        found = Counter(p.suffix.lower() for p in files_below(folder))
        if not found:
            raise InputError(f"{folder} holds no files; check the path")
        held = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in found.most_common(5))
        raw = "; give samples without a header one: sox -t raw -r 16000 -e signed -b 16 -c 1 x.pcm x.wav"
        raise InputError(f"{folder} holds no recordings ({', '.join(sorted(AUDIO_SUFFIXES))}), but {held}; check the "
                         f"folder{raw if {'.pcm', '.raw'} & found.keys() else ''}")  # fmt: skip
    texts = text_files(folder, recordings)
    if not texts:
        tables = [str(p) for p in files_below(folder) if p.suffix.lower() in (".tsv", ".csv", ".jsonl")]
        raise InputError(
            f"{folder} holds {len(recordings)} recordings but no .txt next to any; "
            + (f"give the table of its texts, such as {tables[0]}, " if tables else "name texts like recordings, ")
            + "or recognise them without texts: asr transcribe MODEL FOLDER"
        )
    note_unused(folder, {*recordings, *texts.values()}, notes)
    words = {p: read_words(path, notes) for p, path in texts.items()}
    if timed := next((texts[p] for p, text in words.items() if _SUBTITLES.search(text)), None):
        raise InputError(f"{timed} holds subtitles with times, not a text; give the times as columns of a table, or as "
                         "Kaldi segments")  # fmt: skip
    timit = all(_TIMIT.match(text) and texts[p].suffix.lower() == ".txt" for p, text in words.items())
    for p in recordings:
        text = words.get(p)
        if text is not None and timit:
            notes.add("two sample numbers before the text are left out, as in TIMIT", texts[p].name)
            text = _TIMIT.sub("", text, count=1)
        elif text is not None and texts[p].suffix.lower() == ".lab" and _HTK.match(text):
            raise InputError(f"{texts[p]} holds labels with times (HTK), not a text; give texts as {p.stem}.txt")
        extra = {"text": None} if text is None else {}
        yield Utterance("", str(p.absolute()), text=text, speaker=speaker_of(p, folder, notes), extra=extra)
