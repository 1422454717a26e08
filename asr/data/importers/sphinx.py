"""CMU Sphinx: NAME.fileids with a recording per line, NAME.transcription with lines `<s> words </s> (id)`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from asr.data.importers.notes import Notes
from asr.data.importers.reading import AUDIO_SUFFIXES, one_line, text_lines
from asr.errors import InputError
from asr.manifest import Utterance

TRANSCRIPT = re.compile(r"(.*)\(([^()\s]+)\)\s*")
_SILENCES = {"<s>", "</s>", "<sil>"}


def read_sphinx(path: Path, notes: Notes) -> Iterator[Utterance]:
    """The utterances of either file; the other one lies next to it. Recordings lie next to them, or in wav/ there or
    one folder up.

    Raises InputError for a missing file, a line of another form, and lines of the two files that disagree.
    """
    stem = re.sub(r"\.(fileids|transcription)$", "", str(path))
    fileids, transcription = Path(f"{stem}.fileids"), Path(f"{stem}.transcription")
    if not transcription.exists():
        raise InputError(f"{transcription} does not exist; expected it next to {fileids}")
    texts: dict[str, str] = {}
    for number, line in text_lines(transcription, notes):
        if not (match := TRANSCRIPT.fullmatch(line)):
            raise InputError(f"{transcription}:{number}: '{line[:80]}'; expected <s> words </s> (id)")
        if match[2] in texts:
            raise InputError(f"{transcription}:{number}: '{match[2]}' occurs twice; keep one line")
        texts[match[2]] = _plain(match[1], notes)
    if fileids.exists():
        listed = [(f"{fileids}:{number}", line.strip()) for number, line in text_lines(fileids, notes)]
    else:
        listed = [(str(transcription), id) for id in texts]
    found = _matched(listed, texts)
    for (_, file), id in zip(listed, found, strict=True):
        yield Utterance("", _recording(file, path.parent), text=None if id is None else texts[id],
                        extra={"text": None} if id is None else {})  # fmt: skip
    used = set(found)
    for id in texts:
        if id not in used:
            notes.add("transcripts without a line in the fileids", id)


def _matched(listed: Sequence[tuple[str, str]], texts: Mapping[str, str]) -> list[str | None]:
    """The transcript of each (place, recording): that of the same path, else the only one of the same name, or None.

    Raises InputError naming a line that repeats a recording, or that several transcripts fit.
    """
    by_name: dict[str, list[str]] = {}
    for id in texts:
        by_name.setdefault(Path(id).name, []).append(id)
    found: dict[str, str | None] = {}
    taken: set[str] = set()
    for place, file in listed:
        fitting = [file] if file in texts else by_name.get(Path(file).name, [])
        if len(fitting) > 1:
            raise InputError(f"{place}: transcripts '{fitting[0]}' and '{fitting[1]}' fit '{file}'; write its path")
        if file in found or not taken.isdisjoint(fitting):
            raise InputError(f"{place}: '{file}' is listed twice; keep one line")
        found[file] = fitting[0] if fitting else None
        taken.update(fitting)
    return list(found.values())


def _plain(text: str, notes: Notes) -> str:
    """The words, without marks of silence and numbers of pronunciations: READ(2) is READ."""
    words = [re.sub(r"(?<=.)\(\d+\)$", "", word) for word in text.split() if word not in _SILENCES]
    for word in words:
        if word.startswith("++") and word.endswith("++"):
            notes.add("words for noises that stay in the texts", word)
    return one_line(" ".join(words))


def _recording(file: str, folder: Path) -> str:
    suffixes = ("",) if Path(file).suffix.lower() in AUDIO_SUFFIXES else tuple(sorted(AUDIO_SUFFIXES))
    places = [folder, folder / "wav", folder.parent / "wav", folder.parent]
    for place in places:
        for suffix in suffixes:
            if (path := place / f"{file}{suffix}").is_file():
                return str(path.absolute())
    raise InputError(f"there is no recording '{file}' ({', '.join(suffixes)}) in {', '.join(map(str, places))}")
