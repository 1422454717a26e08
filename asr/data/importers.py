"""Importing corpora in the formats of other toolkits as utterances.

    kaldi         data folder: wav.scp or feats.scp; optional segments, text, utt2spk, utt2lang
    lhotse        cut manifest (.jsonl, .jsonl.gz): one utterance per supervision
    nemo          JSONL with audio_filepath, text, duration, offset
    common_voice  TSV with path, sentence, client_id, next to the folder clips/
    table         CSV or TSV with a header line; `COLUMNS` lists the accepted column names
    folder        recordings, each with a .txt file of the same name next to it, at any depth

A relative path is resolved against the folder of the corpus first, then, as in Kaldi, against the working directory.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.manifest import Utterance, parse_object
from asr.textfiles import lines

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".sph", ".w64"}
COLUMNS = {
    "id": ("id", "utt_id", "utterance", "utterance_id"),
    "audio": ("audio", "path", "file", "filename", "audio_path", "audio_filepath", "wav", "wav_filename"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "lang": ("lang", "language", "locale"),
    "start_s": ("start_s", "start", "offset"),
    "duration_s": ("duration_s", "duration"),
}


def import_corpus(path: str | Path, kind: str = "auto") -> list[Utterance]:
    """The utterances of a corpus. Missing ids are derived from file names.

    Raises InputError for an unknown kind, a corpus of none of these kinds, and malformed content (file:line, field).
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"corpus {path} does not exist; check the path")
    readers: dict[str, Callable[[Path], Iterable[Utterance]]] = {
        "kaldi": _kaldi,
        "lhotse": _lhotse,
        "nemo": _nemo,
        "common_voice": _common_voice,
        "table": _table,
        "folder": _folder,
    }
    if kind != "auto" and kind not in readers:
        raise InputError(f"unknown kind of corpus '{kind}'; expected one of auto, {', '.join(readers)}")
    utterances = list(readers[detect(path) if kind == "auto" else kind](path))
    if not utterances:
        raise InputError(f"{path}: 0 utterances; check that this is the right file or folder")
    return _identify(utterances, path)


def detect(path: Path) -> str:
    """Guess the kind of a corpus from its file names and its first line. Raises InputError if it is none of them."""
    if path.is_dir():
        if (path / "wav.scp").exists() or (path / "feats.scp").exists():
            return "kaldi"
        if (path / "clips").is_dir() and (tables := sorted(p.name for p in path.glob("*.tsv"))):
            raise InputError(f"{path} is a Common Voice folder; give one of its tables: {', '.join(tables)}")
        return "folder"
    _, first = next(_lines(path), (0, ""))
    if first.startswith("{"):
        fields = parse_object(first, f"{path}:1")
        if "audio_filepath" in fields:
            return "nemo"
        if "recording" in fields or "supervisions" in fields or "tracks" in fields:
            return "lhotse"
        if "audio" in fields or "features" in fields:
            raise InputError(f"{path} is a manifest already; it needs no import")
        raise InputError(f"{path}:1: neither a lhotse cut (recording, supervisions) nor NeMo (audio_filepath)")
    return "common_voice" if {"path", "sentence", "client_id"} <= set(first.split("\t")) else "table"


# Kaldi


def _kaldi(folder: Path) -> Iterator[Utterance]:
    text, speaker, lang = (_pairs(folder / name, optional=True) for name in ("text", "utt2spk", "utt2lang"))
    found = set()
    for utterance in _kaldi_audio(folder) if (folder / "wav.scp").exists() else _kaldi_features(folder):
        id = utterance.id
        found.add(id)
        utterance.text = " ".join(text.get(id, "").split())
        utterance.speaker, utterance.lang = speaker.get(id), lang.get(id)
        yield utterance
    if lost := next((id for id in text if id not in found), None):
        raise InputError(f"{folder / 'text'}: utterance '{lost}' is in no segments, wav.scp or feats.scp; remove it")


def _kaldi_audio(folder: Path) -> Iterator[Utterance]:
    scp = folder / "wav.scp"
    recordings = _pairs(scp)
    for id, source in recordings.items():
        if source.endswith("|"):
            raise InputError(f"{scp}: '{id}' is the output of a command ({source}); commands are not run: "
                             "write the output to a file and give its name")  # fmt: skip
        if ".ark:" in source:
            raise InputError(f"{scp}: '{id}' is in an archive ({source}); extract it to a file")
    if not (folder / "segments").exists():
        yield from (Utterance(id, _locate(source, folder)) for id, source in recordings.items())
        return
    for id, segment in _pairs(folder / "segments").items():
        where, fields = f"{folder / 'segments'}: utterance '{id}'", segment.split()
        if len(fields) < 3 or fields[0] not in recordings:
            raise InputError(f"{where} is '{segment}'; expected a recording of wav.scp, start and end in seconds")
        start_s, end_s = _number(fields[1], f"{where}, start"), _number(fields[2], f"{where}, end")
        if start_s < 0 or (end_s <= start_s and end_s != -1):  # -1: to the end of the recording
            raise InputError(f"{where} goes from {start_s} s to {end_s} s; expected 0 <= start < end")
        duration_s = None if end_s == -1 else round(end_s - start_s, 6)
        yield Utterance(id, _locate(recordings[fields[0]], folder), start_s=start_s, duration_s=duration_s)


def _kaldi_features(folder: Path) -> Iterator[Utterance]:
    for id, place in _pairs(folder / "feats.scp").items():
        archive, _, offset = place.rpartition(":")
        yield Utterance(id, features=f"{_locate(archive, folder)}:{offset}" if archive else _locate(place, folder))


def _pairs(path: Path, optional: bool = False) -> dict[str, str]:
    """A Kaldi table with lines `key value`, as key -> value."""
    if optional and not path.exists():
        return {}
    pairs: dict[str, str] = {}
    for number, line in _lines(path):
        key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
        if key in pairs:
            raise InputError(f"{path}:{number}: '{key}' occurs twice; keep one line")
        if not value and path.name != "text":
            raise InputError(f"{path}:{number}: '{key}' has no value; expected 'key value'")
        pairs[key] = value.strip()
    return pairs


# JSON lines


def _lhotse(path: Path) -> Iterator[Utterance]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        cut = parse_object(line, where)
        if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut") or not isinstance(cut.get("recording"), dict):
            raise InputError(f"{where}: a {cut.get('type', 'cut')} without one recording; export plain cuts with audio")
        try:
            yield from _supervised(cut, _locate(_cut_source(cut, where), path.parent))
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as e:
            raise InputError(f"{where}: not a lhotse cut ({type(e).__name__}: {e}); export it again with lhotse") from e


def _supervised(cut: dict[str, Any], audio: str) -> Iterator[Utterance]:
    """One utterance per supervision. Times of supervisions count from the start of the cut and may exceed it."""
    start_s, length_s = float(cut["start"]), float(cut["duration"])
    supervisions = cut.get("supervisions") or [{"start": 0.0, "duration": length_s}]
    for s in supervisions:
        begin_s, end_s = max(0.0, s["start"]), min(length_s, s["start"] + s["duration"])
        if end_s <= begin_s:
            raise ValueError(f"supervision from {begin_s} s to {end_s} s of the cut")
        yield Utterance(
            str(cut["id"] if len(supervisions) == 1 else s["id"]),
            audio,
            start_s=round(start_s + begin_s, 6),
            duration_s=round(end_s - begin_s, 6),
            text=" ".join((s.get("text") or "").split()),
            speaker=s.get("speaker"),
            lang=s.get("language"),
            extra={k: v for k, v in (s.get("custom") or {}).items() if isinstance(v, (str, int, float))},
        )


def _cut_source(cut: dict[str, Any], where: str) -> str:
    """The audio file of a cut. Raises InputError if the cut needs more than one file with its channels averaged."""
    recording, channel = cut["recording"], cut.get("channel", 0)
    if recording.get("transforms"):
        raise InputError(f"{where}: recording '{recording['id']}' has transforms; save the transformed audio to a file")
    wanted = set(channel if isinstance(channel, list) else [channel])
    source = next((s for s in recording["sources"] if wanted & set(s["channels"])), recording["sources"][0])
    if source["type"] != "file":
        raise InputError(f"{where}: source of type '{source['type']}', expected 'file'; save the recording to a file")
    if set(source["channels"]) != wanted:
        raise InputError(f"{where}: uses channel {channel} of {source['channels']}; save each channel to its own file")
    return source["source"]


def _nemo(path: Path) -> Iterator[Utterance]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        yield _from_row(parse_object(line, where), where, path.parent)


# Tables


def _common_voice(path: Path) -> Iterator[Utterance]:
    for where, row in _rows(path, "\t"):
        if not row.get("path") or "sentence" not in row:
            raise InputError(f"{where}: field 'path' or 'sentence' is missing; a Common Voice table has both")
        clip = row["path"] if Path(row["path"]).suffix else row["path"] + ".mp3"  # early releases omit it
        yield _from_row({**row, "path": str(path.parent / "clips" / clip)}, where, path.parent)


def _table(path: Path) -> Iterator[Utterance]:
    _, header = next(_lines(path), (0, ""))
    for delimiter in "\t,;|":
        if any(name.strip().strip('"').lower() in COLUMNS["audio"] for name in header.split(delimiter)):
            break
    else:
        raise InputError(f"{path}:1: no column for the audio in '{header[:80]}'; name one 'audio' in the header line")
    for where, row in _rows(path, delimiter):
        yield _from_row(row, where, path.parent)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(file:line, row), column names in lower case. Quotes have a meaning only with , and ; as delimiter."""
    rows = (line + "\n" for _, line in _lines(path, blank=True))
    if delimiter in ",;":
        reader = csv.reader(rows, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(rows, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise InputError(f"{where}: {len(cells)} fields, but the header has {len(names)}; correct the line")
            yield where, dict(zip(names, (cell.strip() for cell in cells), strict=True))
    except csv.Error as e:
        raise InputError(f"{path}:{reader.line_num}: {e}; check the quotes") from e


def _from_row(row: dict[str, Any], where: str, folder: Path) -> Utterance:
    """An utterance from the columns in `COLUMNS`; other columns with a value go to `extra`."""
    row = {name: value for name, value in row.items() if value not in ("", None)}
    known = {field: row.pop(name) for field, names in COLUMNS.items() if (name := _present(names, row))}
    if not isinstance(known.get("audio"), str):
        raise InputError(f"{where}: no audio file; expected its path in one of {', '.join(COLUMNS['audio'])}")
    start_s = _number(known.get("start_s", 0.0), f"{where}: field 'start_s'")
    duration_s = _number(known["duration_s"], f"{where}: field 'duration_s'") if "duration_s" in known else None
    if start_s < 0 or (duration_s is not None and duration_s <= 0):
        raise InputError(f"{where}: starts at {start_s} s and lasts {duration_s} s; expected start >= 0, duration > 0")
    return Utterance(
        id=str(known.get("id", "")),
        audio=_locate(known["audio"], folder),
        start_s=start_s,
        duration_s=duration_s,
        text=" ".join(str(known.get("text", "")).split()),
        speaker=str(known["speaker"]) if "speaker" in known else None,
        lang=str(known["lang"]) if "lang" in known else None,
        extra=row,
    )


def _present(names: Sequence[str], row: dict[str, Any]) -> str | None:
    return next((name for name in names if name in row), None)


# Folders


def _folder(folder: Path) -> Iterator[Utterance]:
    recordings = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    if not recordings:
        raise InputError(f"{folder} holds no recordings ({', '.join(sorted(AUDIO_SUFFIXES))}); check the folder")
    if not any(p.with_suffix(".txt").exists() for p in recordings):
        raise InputError(
            f"{folder} holds {len(recordings)} recordings but no .txt next to any; name texts like recordings"
        )
    for p in recordings:
        texts = _lines(p.with_suffix(".txt")) if p.with_suffix(".txt").exists() else ()
        yield Utterance("", str(p.resolve()), text=" ".join(word for _, text in texts for word in text.split()))


# Shared


def _lines(path: Path, blank: bool = False) -> Iterator[tuple[int, str]]:
    """The numbered lines of a file; blank lines only when asked for."""
    return ((n, line) for n, line in lines(path, "corpus file", "text") if blank or line.strip())


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise InputError(f"{where} is {value!r}; expected seconds")
    return number


def _locate(path: str, folder: Path) -> str:
    inside = folder / path
    return str((Path(path) if not inside.exists() and Path(path).exists() else inside).absolute())


def _identify(utterances: list[Utterance], corpus: Path) -> list[Utterance]:
    """Give ids to utterances without one, by the first rule that makes all ids distinct: the file name; the path below
    the corpus; the path and the start time."""
    rules: list[Callable[[Utterance, Path], str]] = [
        lambda u, p: p.stem,
        lambda u, p: "-".join(p.with_suffix("").parts[1:]),
        lambda u, p: f"{'-'.join(p.with_suffix('').parts[1:])}-{round(u.start_s * 1000):08d}",
    ]
    folder = corpus if corpus.is_dir() else corpus.parent
    for rule in rules:
        ids = [u.id or rule(u, _below(Path(u.audio or ""), folder)) for u in utterances]
        if len(set(ids)) == len(ids):
            for utterance, id in zip(utterances, ids, strict=True):
                utterance.id = id
            return utterances
    twice, _ = Counter(ids).most_common(1)[0]
    raise InputError(f"{corpus}: utterance '{twice}' occurs twice; keep one")


def _below(path: Path, folder: Path) -> Path:
    """`/` and the part of the path below the folder; the whole path if it is not below the folder."""
    folder = folder.absolute()
    return Path("/") / path.relative_to(folder) if path.is_relative_to(folder) else path
