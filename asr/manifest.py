"""A corpus as JSONL, one utterance per line.

    {"id": "a1", "audio": "audio/a1.flac", "start_s": 0.0, "duration_s": 1.5, "text": "yes no",
     "speaker": "s1", "lang": "en", "channel": 0}

`id` and either `audio`, a path or a URL (asr.remote), or `features` are required. Paths below the manifest's folder are
written relative to it. Other fields are kept in `extra` and written back.

Text has three states. No field: nobody transcribed the utterance. null: the corpus has transcripts, but not this one.
"": someone listened, and nothing is said. The first two are unknown and never stand for "".
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.files import atomic_write, check_name
from asr.literals import RepeatedField, parse_json
from asr.remote import is_remote
from asr.textfiles import Lines, lines

MOST_S = 1e12  # limit of times; larger whole numbers do not fit a float


@dataclass
class Utterance:
    """One line of a manifest."""

    id: str
    audio: str | None = None  # path of the recording
    features: str | None = None  # path of stored features; "x.ark:123" is an offset into a Kaldi archive
    start_s: float = 0.0  # where the utterance begins in the recording
    duration_s: float | None = None  # None: to the end of the recording
    text: str | None = None  # None: unknown, with `extra["text"]` None if the manifest says null; "": nothing is said
    speaker: str | None = None
    lang: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    channel: int | None = None  # of the recording, counted from 0; None: the mean of all channels

    @property
    def transcript(self) -> str:
        """The text. Raises InputError if it is unknown."""
        if self.text is None:
            lack = "its text is null" if "text" in self.extra else "it has no text"
            raise InputError(f'{lack}; transcribe the utterance, or set "text": "" if nothing is said')
        return self.text


_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "audio": (str, type(None)),
    "features": (str, type(None)),
    "start_s": (int, float),
    "duration_s": (int, float, type(None)),
    "text": (str, type(None)),
    "speaker": (str, type(None)),
    "lang": (str, type(None)),
    "channel": (int, type(None)),
}


FIELDS = frozenset(_TYPES)
MISTAKEN = frozenset({  # numbers of these names are times that a manifest writes otherwise
    "start", "begin", "offset", "start_time", "begin_time", "start_ms", "end", "stop", "end_s", "end_time", "stop_time",
    "end_ms", "duration",
})  # fmt: skip


def read(path: str | Path) -> list[Utterance]:
    """All utterances. Their paths are absolute.

    Raises InputError naming file:line and field for a malformed line or a duplicate id, and for 0 utterances.
    """
    utterances = list(stream(path))
    if not utterances:
        raise InputError(f"{path}: 0 utterances; a manifest holds one JSON object per line")
    return utterances


def stream(path: str | Path, bad_lines: dict[int, InputError] | None = None) -> Iterator[Utterance]:
    """Yields the utterances. Only their ids stay in memory, so a corpus may be larger than memory.

    Raises as `read` does. If `bad_lines` is given, the error of a bad line goes there by line number instead.
    """
    if not os.path.lexists(path):
        raise InputError(f"there is no manifest {path}; check the path, or write it with `asr data import`")
    folder = os.path.dirname(os.path.abspath(path))
    line_of: dict[str, int] = {}
    for number, line in lines(path, "manifest", "one JSON object per line"):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            utterance = _parse(line, where)
            first = line_of.setdefault(utterance.id, number)
            if first != number:
                raise InputError(f"{where}: duplicate id '{utterance.id}', first used on line {first}; keep one")
        except InputError as e:
            if bad_lines is None:
                raise
            bad_lines[number] = e
            continue
        yield _with_paths(utterance, lambda p: os.path.normpath(os.path.join(folder, p)))


def is_manifest(path: str | Path) -> bool:
    """Whether a file is a manifest: its name ends in .jsonl, or its first line is a JSON object.

    A pipe, which can be read only once, is told by its name alone.
    """
    if str(path).endswith(".jsonl") or not os.path.isfile(path):
        return str(path).endswith(".jsonl")
    try:
        with Lines(path, shows_progress=False) as file:
            return isinstance(parse_json(file.chunk().lstrip().split(b"\n")[0]), dict)
    except (ValueError, InputError):  # not JSON, or a file that its reader will refuse
        return False


def write(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Writes JSONL, with paths below the manifest's folder relative to it. Raises InputError on a duplicate id."""
    folder = os.path.dirname(os.path.abspath(path))

    def relative(p: str) -> str:
        p = os.path.abspath(p)
        return os.path.relpath(p, folder) if os.path.commonpath([p, folder]) == folder else p

    seen: set[str] = set()
    with atomic_write(path) as file:
        for utterance in utterances:
            if utterance.id in seen:
                raise InputError(f"{path}: duplicate id '{utterance.id}'; ids must differ")
            seen.add(utterance.id)
            check_name(utterance.audio or utterance.features or "")
            file.write(json.dumps(_fields(_with_paths(utterance, relative)), ensure_ascii=False) + "\n")


def parse_object(line: str, where: str) -> dict[str, Any]:
    """Parses the JSON object on one line. Raises InputError, beginning with `where`, for anything else, and for
    a field that occurs twice."""
    try:
        fields = parse_json(line)
    except RepeatedField as e:
        raise InputError(f"{where}: {e}") from e
    except ValueError as e:
        raise InputError(f"{where}: not JSON ({e}); each line must be one JSON object") from e
    if not isinstance(fields, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _parse(line: str, where: str) -> Utterance:
    fields = parse_object(line, where)
    known = {name: fields.pop(name) for name in _TYPES if name in fields}
    for name, value in known.items():
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            expected = " or ".join("null" if t is type(None) else t.__name__ for t in _TYPES[name])
            raise InputError(f"{where}: field '{name}' is {value!r}; expected {expected}")
    if not known.get("id"):
        raise InputError(f"{where}: field 'id' is missing or empty; each utterance needs its own id")
    if "text" in known and known["text"] is None:
        fields["text"] = None
    for name in MISTAKEN & fields.keys() - ({"duration"} if known.get("duration_s") is not None else set()):
        if re.fullmatch(r"-?\d+(\.\d*)?", str(fields[name])):
            raise InputError(f"{where}: the field '{name}' has no effect; give the part of the recording as start_s "
                             "and duration_s in seconds, or remove the field")  # fmt: skip
    utterance = Utterance(**known, extra=fields)
    if bool(utterance.audio) == bool(utterance.features):
        raise InputError(f"{where}: an utterance needs exactly one of the fields 'audio' and 'features'")
    if "\0" in (utterance.audio or utterance.features or ""):
        raise InputError(f"{where}: the path holds the character NUL; correct it")
    if not 0 <= utterance.start_s < MOST_S:
        raise InputError(f"{where}: field 'start_s' is {utterance.start_s}; expected seconds, 0 or more")
    if utterance.duration_s is not None and not 0 < utterance.duration_s < MOST_S:
        raise InputError(f"{where}: field 'duration_s' is {utterance.duration_s}; expected seconds above 0, or null")
    if utterance.channel is not None and utterance.channel < 0:
        raise InputError(f"{where}: field 'channel' is {utterance.channel}; expected 0 for the first channel, 1, ...")
    return utterance


def _with_paths(utterance: Utterance, change: Callable[[str], str]) -> Utterance:
    """Paths changed by `change`; URLs of object stores stay."""
    audio, features = utterance.audio, utterance.features
    own = audio if audio is None or is_remote(audio) else change(audio)
    return replace(utterance, audio=own, features=features and change(features))


def _fields(utterance: Utterance) -> dict[str, Any]:
    """The fields in the order of `_TYPES`, without start 0 and those that are None, then the extra fields. A text of
    null stays null."""
    known = {name: getattr(utterance, name) for name in _TYPES}
    kept = {name: value for name, value in known.items() if value is not None and (name, value) != ("start_s", 0)}
    null = {"text"} if utterance.text is None else set()
    return kept | {name: value for name, value in utterance.extra.items() if name not in _TYPES.keys() - null}
