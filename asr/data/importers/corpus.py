"""Importing a corpus: which kind it is, and its utterances."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from asr.data.importers.columns import COLUMNS
from asr.data.importers.folders import read_folder, text_files
from asr.data.importers.ids import identify
from asr.data.importers.kaldi import read_kaldi
from asr.data.importers.lhotse import is_recording, is_supervision, read_lhotse
from asr.data.importers.notes import Notes
from asr.data.importers.reading import first_line, note_unused, recordings_below
from asr.data.importers.rows import read_common_voice, read_json_rows, read_table, table_delimiter
from asr.data.importers.sphinx import read_sphinx
from asr.data.importers.stm import read_stm, stm_files
from asr.data.importers.transcripts import is_headerless, read_ljspeech, read_transcripts, transcript_lists
from asr.errors import InputError
from asr.features import audio
from asr.manifest import Utterance, parse_object

READERS: dict[str, Callable[[Path, Notes], Iterable[Utterance]]] = {
    "kaldi": read_kaldi,
    "lhotse": read_lhotse,
    "nemo": read_json_rows,
    "wenet": read_json_rows,
    "common_voice": read_common_voice,
    "table": read_table,
    "ljspeech": read_ljspeech,
    "folder": read_folder,
    "transcripts": read_transcripts,
    "sphinx": read_sphinx,
    "stm": read_stm,
}
SAMPLE = 200
_METADATA = ("metadata.jsonl", "metadata.csv")
_MAGIC = {b"PAR1": "Parquet", b"PK\x03\x04": "zip or Excel", b"SQLi": "SQLite"}


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def import_corpus(path: str | Path, kind: str = "auto", tell: Callable[[str], None] = _to_stderr) -> list[Utterance]:
    """The utterances of a corpus. Missing ids are derived from file names.

    `tell` gets a sentence for each thing that is left out, guessed or changed.
    Raises InputError for an unknown kind, a corpus of none of these kinds, malformed content (file:line, field), and a
    corpus whose transcripts are all missing. Single malformed utterances are told and set aside.
    """
    given = path = Path(path)
    if not path.exists():
        raise InputError(f"corpus {path} does not exist; check the path")
    if kind != "auto" and kind not in READERS:
        raise InputError(f"unknown kind of corpus '{kind}'; expected one of auto, {', '.join(READERS)}")
    kind = detect(path) if kind == "auto" else kind
    if path.is_dir() != (kind in ("kaldi", "folder", "transcripts")) and (kind != "stm"):
        if not path.is_dir() or not (metadata := _metadata(path)):
            raise InputError(
                f"{path} is a {'folder' if path.is_dir() else 'file'}; a corpus of kind {kind} is the other"
            )
        path = metadata
    notes = Notes()
    utterances = list(READERS[kind](path, notes))
    notes.check_aside(len(utterances))
    if given.is_dir() and not path.is_dir():
        note_unused(given, {path, *(Path(u.audio) for u in utterances if u.audio)}, notes)
    if not utterances:
        raise InputError(f"{path}: 0 utterances; check that this is the right file or folder")
    utterances = identify(utterances, path, notes)
    _note_texts(utterances, path, notes)
    _note_repeats(utterances, notes)
    _note_recordings(utterances, path, notes)
    _check_channels(utterances, path, kind)
    for sentence in notes.sentences():
        tell(f"{path}: {sentence}")
    return utterances


def detect(path: Path) -> str:
    """Guess the kind of a corpus from its file names and its first line. Raises InputError if it is none of them."""
    return _detect_folder(path) if path.is_dir() else _detect_file(path)


def _detect_folder(path: Path) -> str:
    if (path / "wav.scp").exists() or (path / "feats.scp").exists():
        return "kaldi"
    if (path / "clips").is_dir() or (path / "audios").is_dir():
        if tables := sorted(p.name for p in path.glob("*.tsv")):
            raise InputError(f"{path} is a Common Voice folder; give one of its tables: {', '.join(tables)}")
    if (metadata := _metadata(path)) and (kind := _detect_file(metadata)) in ("table", "ljspeech"):
        if metadata.suffix == ".jsonl" or kind == "ljspeech" or table_delimiter(first_line(metadata)):
            return kind  # else the table is about something else, such as speakers
    if (parquet := next(path.rglob("*.parquet"), None)) is not None:
        raise InputError(f"{parquet} is Parquet, which is not read; export the recordings as files with metadata.csv")
    if below := [p for name in _METADATA for p in sorted(path.glob(f"*/{name}"))]:
        raise InputError(f"{path} holds several sets; give one of {', '.join(str(p) for p in below)}")
    pairs = sorted(p.name for p in path.glob("*supervision*.jsonl*"))
    if pairs:
        raise InputError(f"{path} holds lhotse manifests; give one of {', '.join(pairs)}")
    if stm_files(path):
        return "stm"
    if fileids := sorted([*path.glob("*.fileids"), *path.glob("etc/*.fileids")]):
        raise InputError(f"{path} is a Sphinx folder; give one of {', '.join(map(str, fileids))}")
    lists = transcript_lists(path)
    if lists and (any(p.name.endswith(".trans.txt") for p in lists) or not text_files(path, recordings_below(path))):
        return "transcripts"
    return "folder"


def _metadata(folder: Path) -> Path | None:
    """The table of a Hugging Face audio folder or of LJSpeech."""
    return next((folder / name for name in _METADATA if (folder / name).is_file()), None)


def _detect_file(path: Path) -> str:
    with open(path, "rb") as file:
        head = file.read(4)
    if head in _MAGIC:
        raise InputError(f"{path} is a {_MAGIC[head]} file, which is not read; export it as CSV or JSON lines")
    if path.suffix in (".fileids", ".transcription"):
        return "sphinx"
    if path.suffix == ".stm":
        return "stm"
    if path.name == "wav.scp":
        raise InputError(f"{path} is part of a Kaldi folder; give the folder {path.parent}")
    first = first_line(path)
    if first.startswith("{"):
        return _detect_json(path, first)
    if first.startswith("["):
        raise InputError(f"{path} is a JSON array; write one object per line: jq -c '.[]' FILE")
    if first.strip().endswith((".tar", ".tar.gz")):
        raise InputError(f"{path} lists tar files (shards), which are not read; unpack them, and list key, wav and txt")
    names = {name.strip().lower() for name in first.split("\t")}
    if {"path", "sentence", "client_id"} <= names or {"audio_file", "transcription", "client_id"} <= names:
        return "common_voice"
    return "ljspeech" if table_delimiter(first) is None and is_headerless(first) else "table"


def _detect_json(path: Path, first: str) -> str:
    if first.strip() == "{":
        raise InputError(f"{path} is one JSON object over several lines; write one object per line")
    fields = parse_object(first, f"{path}:1")
    if "audio_filepath" in fields:
        return "nemo"
    if {"recording", "supervisions", "tracks"} & fields.keys() and "id" in fields:
        return "lhotse"
    if is_supervision(fields) or is_recording(fields):
        return "lhotse"
    if "storage_type" in fields:
        raise InputError(f"{path} holds lhotse features; import the cuts, or the supervisions with their recordings")
    if {"key", "wav"} <= fields.keys():
        return "wenet"
    if "id" in fields and ({"audio", "features"} & fields.keys()) and not isinstance(fields.get("audio"), dict):
        raise InputError(f"{path} is a manifest already; it needs no import")
    if any(name in fields for name in COLUMNS["audio"]):
        return "table"
    raise InputError(
        f"{path}:1: neither a lhotse cut (recording, supervisions) nor NeMo (audio_filepath), WeNet (key, wav, txt) or "
        f"rows with a field for the audio, such as file_name; the fields are {', '.join(list(fields)[:8])}"
    )


def _note_texts(utterances: list[Utterance], path: Path, notes: Notes) -> None:
    missing = [u for u in utterances if u.text is None]
    if len(missing) == len(utterances):
        if any("text" in u.extra for u in missing):
            raise InputError(f"{path}: none of its {len(missing)} utterances has a text, such as '{missing[0].id}'; "
                             "check where the corpus keeps its transcripts")  # fmt: skip
        notes.add("no column, field or file of the corpus gives texts", "good for decode, not for train and score")
        return
    for u in missing:
        notes.add("utterances without a text (absent or null)", u.id)
    for u in utterances:
        if u.text == "":
            notes.add("utterances with an empty text, which says that nothing is said", u.id)


def _note_repeats(utterances: list[Utterance], notes: Notes) -> None:
    """Names utterances of the same part of a recording as another one, with another text."""
    text_of: dict[object, str] = {}
    for u in utterances:
        part = u.audio or u.features, u.start_s, u.duration_s, u.channel
        if u.text is not None and text_of.setdefault(part, u.text) != u.text:
            notes.add("the same sound has several texts; name the columns of its times start and end", u.id)


def _note_recordings(utterances: list[Utterance], path: Path, notes: Notes) -> None:
    """Names recordings that do not exist or have channels that will be averaged, and utterances that end after theirs.

    Raises InputError if most end so: then the unit is wrong. Reads the headers of all recordings with segments, but of
    the first `SAMPLE` others only.
    """
    headers: dict[str, audio.AudioInfo | None] = {}
    late, known = [], 0
    for u in utterances:
        if u.audio is None or (not u.start_s and len(headers) >= SAMPLE):
            continue
        if u.audio not in headers:
            headers[u.audio] = _header(u.audio)
        if (header := headers[u.audio]) is None:
            continue
        if header.channels > 1 and u.channel is None:
            notes.add("recordings with several channels, which will be averaged", u.audio)
        known += 1
        if u.start_s + (u.duration_s or 0.0) > header.duration_s + audio.SLACK_S:
            late.append(f"{u.id} ({u.start_s + (u.duration_s or 0.0):g} s of {header.duration_s:.2f} s)")
    if 2 * len(late) > known:
        raise InputError(
            f"{path}: {len(late)} of {known} utterances end after their recording, such as {late[0]}; if the times "
            "are in another unit, name the columns start_ms, end_ms or start_sample, end_sample"
        )
    for name in late:
        notes.add("utterances that end after their recording", name)
    for recording in sorted({u.audio for u in utterances if u.audio}):
        if not Path(recording).exists():
            notes.add("recordings that do not exist", recording)


def _header(path: str) -> audio.AudioInfo | None:
    try:
        return audio.info(path)
    except InputError:  # `asr data check` names it
        return None


def _check_channels(utterances: list[Utterance], path: Path, kind: str) -> None:
    """Raises InputError for a table whose channels count from 1."""
    channels = {u.channel for u in utterances} - {None}
    if kind in ("table", "nemo", "wenet", "common_voice") and len(channels) > 1 and 0 not in channels:
        raise InputError(f"{path}: the channels begin at 1; count them from 0: the first channel is 0")
