"""Tables with a header line (CSV, TSV, any of , ; | and tab) and JSON lines: one utterance per row.

NeMo, WeNet, Common Voice, Hugging Face audio folders, SpeechBrain and DeepSpeech use such rows; `columns` lists the
names. A column of another name becomes an extra field of the manifest.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.data.importers.columns import COLUMNS, channel_of, fields_of, plain_name, seconds, times_of
from asr.data.importers.notes import Notes
from asr.data.importers.reading import extra_name, locate, one_line, read_words, text_lines
from asr.errors import InputError
from asr.manifest import Utterance, parse_object

AGREE_S = 0.02  # a row's end and its start and duration may differ by rounding
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_MISSING = {"NaN", "nan", "NAN", "None", "null", "NULL", "NA", "N/A", "<NA>", "#N/A", "n/a"}  # as other tools write it


def read_json_rows(path: Path, notes: Notes) -> Iterator[Utterance]:
    def read(numbered: tuple[int, str]) -> list[Utterance]:
        where = f"{path}:{numbered[0]}"
        row = parse_object(numbered[1], where)
        if isinstance(row.get("audio"), dict) and "path" in row["audio"]:  # as `datasets` writes it
            row["audio"] = row["audio"]["path"]
        return [from_row(row, where, path.parent, notes)]

    return notes.each(read, text_lines(path, notes))


def read_table(path: Path, notes: Notes) -> Iterator[Utterance]:
    if path.suffix == ".jsonl" or next(text_lines(path, notes), (0, ""))[1].startswith("{"):
        yield from read_json_rows(path, notes)
        return
    _, header = next(text_lines(path, notes), (0, ""))
    delimiter = table_delimiter(header)
    if delimiter is None:
        place = f" in '{header[:80]}'" if header else ": the file is empty"
        raise InputError(f"{path}:1: no column for the audio{place}; name one 'audio' in the header line, separated by "
                         "tab, comma, ; or |")  # fmt: skip
    rows = table_rows(path, delimiter, notes)
    yield from notes.each(lambda row: [from_row(row[1], row[0], path.parent, notes)], rows)


def table_delimiter(header: str) -> str | None:
    """The delimiter that gives a column for the audio; None if there is none."""
    for delimiter in "\t,;|":
        if any(plain_name(name) in COLUMNS["audio"] for name in header.split(delimiter)):
            return delimiter
    return None


def read_common_voice(path: Path, notes: Notes) -> Iterator[Utterance]:
    """Read speech has path and sentence, with its recordings in clips/; spontaneous speech has audio_file and
    transcription, with its recordings in audios/."""

    def read(found: tuple[str, dict[str, Any]]) -> list[Utterance]:
        where, row = found
        name, text = ("audio_file", "transcription") if "audio_file" in row else ("path", "sentence")
        if not row.get(name) or text not in row:
            raise InputError(f"{where}: field '{name}' or '{text}' is missing; a Common Voice table has both")
        clip = row[name] if Path(row[name]).suffix else row[name] + ".mp3"  # early releases omit it
        folder = "audios" if name == "audio_file" else "clips"
        audio = locate(clip, path.parent / folder, path.parent, path.parent / "audio_files")
        return [from_row({**row, name: audio}, where, path.parent, notes)]

    return notes.each(read, table_rows(path, "\t", notes))


def table_rows(path: Path, delimiter: str, notes: Notes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, row), with an empty cell as None. With tabs and |, quotes count only around a whole cell: Common
    Voice has texts with single quotes."""
    rows = (line + "\n" for _, line in text_lines(path, notes, blank=True))
    if delimiter in ",;":
        reader = csv.reader(rows, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(rows, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        header = next((cells for cells in reader if any(cells)), [])
        names = [name.strip().strip("\"'") for name in header]
        if "" in names:
            notes.name("a column without a name is not used", f"column {names.index('') + 1}")
        if twice := next((name for i, name in enumerate(names) if name and name in names[:i]), None):
            raise InputError(f"{path}:1: two columns are called '{twice}'; rename one")
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not any(cells):
                continue
            if len(cells) != len(names):
                fault = f"{where}: {len(cells)} fields, but the header has {len(names)}; correct the line"
                notes.set_aside(InputError(fault))
                continue
            if delimiter in "\t|":
                cells = [_unquoted(cell) for cell in cells]
            yield where, {name: cell.strip() or None for name, cell in zip(names, cells, strict=True) if name}
    except csv.Error as e:
        raise InputError(f"{path}:{reader.line_num}: {e}; check the quotes") from e


def _unquoted(cell: str) -> str:
    whole = _QUOTED.fullmatch(cell.strip())
    return whole[1].replace('""', '"') if whole else cell


def from_row(row: dict[str, Any], where: str, folder: Path, notes: Notes) -> Utterance:
    """An utterance from the columns in `COLUMNS` and the times; other columns with a value go to `extra`."""
    row = {name: None if value != value else value for name, value in row.items()}  # NaN, as pandas writes it
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    known = dict(fields_of(tuple(given)))
    column = fields_of(tuple(row)).get("text")
    if column != known.get("text"):  # an empty text is not that of another column
        known.pop("text", None)
        known |= {"text": column} if column in given else {}
    value = {kind: str(given[name]) for kind, name in known.items()}
    audio, features = (given[known[kind]] if kind in known else None for kind in ("audio", "features"))
    audio = audio if isinstance(audio, str) else None
    if audio is None and not isinstance(features, str):
        raise InputError(f"{where}: no audio file; expected its path in one of {', '.join(COLUMNS['audio'])}")
    path = locate(audio, folder) if audio is not None else ""
    if audio is not None and "shard_id" in given and not Path(path).exists():
        raise InputError(f"{where}: the recording is in a tar file (shard {given['shard_id']}); unpack the tar files")
    start_s, duration_s, timed = _part(row, where, path)
    if start_s and duration_s is None:
        notes.add("utterances without an end last until that of their recording", value.get("id", where))
    text, extra = _text(row, given, known, where, folder, notes)
    used = {known[kind] for kind in known.keys() - {"text", "text_file", "features"}} | timed
    used |= {known["text"]} if "text" in known else {known["text_file"]} if "text_file" in known else set()
    used |= {known["features"]} if audio is None else set()
    if given.get("target_lang", given.get("source_lang")) != given.get("source_lang"):
        notes.add("the text may be a translation, since target_lang differs from source_lang", where)
    for name in [name for name in given if name not in used]:
        new = extra_name(name)
        extra[new] = given[name]
        notes.name("columns kept as extra fields, without effect", name if new == name else f"{name} as {new}")
    return Utterance(
        id=value.get("id", ""),
        audio=path or None,
        features=None if audio is not None else locate(value["features"], folder),
        start_s=start_s,
        duration_s=duration_s,
        text=text,
        speaker=value.get("speaker"),
        lang=value.get("lang"),
        channel=_channel(given, known, where, notes),
        extra=extra,
    )


def _part(row: dict[str, Any], where: str, audio: str) -> tuple[float, float | None, set[str]]:
    """(start, duration, names of the columns) of a row. Raises InputError for times that are none."""
    try:
        times = times_of(tuple(row))
    except InputError as e:
        raise InputError(f"{where}: {e}") from e
    row = {name: value for name, value in row.items() if value is not None and value != ""}
    odd = [name for name in times.odd if re.fullmatch(r"[-\d.,:]+", str(row.get(name)))]
    if odd:
        raise InputError(
            f"{where}: the column '{odd[0]}' looks like a time, but its kind or unit is unknown; call it start_s, "
            "end_s, duration_s (seconds), start_ms, end_ms, start_sample or end_sample, or remove it"
        )
    start, end, duration = (
        seconds(row, t, where, audio) if t and t.name in row else None for t in (times.start, times.end, times.duration)
    )
    if start is None and end is not None and duration is not None:
        start = 0.0 if abs(end - duration) < AGREE_S else end - duration
    start_s = start or 0.0
    if start_s < 0 or (duration is not None and duration <= 0):
        raise InputError(f"{where}: starts at {start_s} s and lasts {duration} s; expected start >= 0, duration > 0")
    if end is not None:
        if end <= start_s:
            raise InputError(f"{where}: goes from {start_s} s to {end} s; expected start < end")
        if duration is not None and start is not None and abs(end - start_s - duration) > AGREE_S:
            raise InputError(f"{where}: from {start_s} s to {end} s is not {duration} s; correct a column, remove "
                             "it, or give its unit: start_ms, start_sample")  # fmt: skip
        duration = end - start_s
    names = {t.name for t in (times.start, times.end, times.duration) if t}
    return round(start_s, 6), None if duration is None else round(duration, 6), names


def _text(row: dict[str, Any], given: dict[str, Any], known: dict[str, str], where: str, folder: Path,
          notes: Notes) -> tuple[str | None, dict[str, Any]]:  # fmt: skip
    """(text, extra fields): the text of the row, or of the file that it names; `extra["text"]` None if it is null."""
    if "text" in known:
        text = given[known["text"]]
        if not isinstance(text, (str, int, float)) or isinstance(text, bool):
            raise InputError(f"{where}: field '{known['text']}' is {text!r}; expected a string")
        if text in _MISSING:
            notes.add("texts that may stand for a missing one; leave the cell empty if so", str(text))
        return one_line(str(text)), {}
    if "text_file" in known:
        path = Path(locate(str(given[known["text_file"]]), folder))
        if path.exists():
            return read_words(path, notes), {}
        notes.add("text files that do not exist", str(path))
        return None, {"text": None}
    columns = [name for name in row if plain_name(name) in (*COLUMNS["text"], *COLUMNS["text_file"])]
    if any(row[name] == "" for name in columns):  # in JSON; an empty cell of a table is None
        return "", {}
    return None, {"text": None} if columns else {}


def _channel(given: dict[str, Any], known: dict[str, str], where: str, notes: Notes) -> int | None:
    if "channel" not in known:
        return None
    name = known["channel"]
    found = channel_of(given[name], f"{where}: field '{name}'")
    if str(given[name]).strip().isdigit():
        notes.add("channels are counted from 0", f"column '{name}'")
    return found
