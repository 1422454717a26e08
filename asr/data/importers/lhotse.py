"""lhotse manifests: cuts, or recordings and supervisions (.jsonl, .jsonl.gz).

One utterance per supervision; a cut without supervisions is one utterance without text. The times of a supervision
count from the start of its cut, or of its recording. Custom fields become extra fields.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.data.importers.notes import Notes
from asr.data.importers.reading import extra_name, locate, one_line, text_lines
from asr.errors import InputError
from asr.manifest import Utterance, parse_object

_CUT = {"id", "start", "duration", "channel", "supervisions", "recording", "custom", "type"}
_SUPERVISION = {"id", "recording_id", "start", "duration", "channel", "text", "language", "speaker", "gender", "custom"}
SLACK_S = 0.05  # supervisions may exceed their cut by rounding
_SAME_SOUND = {"Resample"}  # the toolkit resamples itself


def read_lhotse(path: Path, notes: Notes) -> Iterator[Utterance]:
    """The utterances of a manifest of cuts, or of supervisions (or recordings) with the other file next to it."""
    first = parse_object(next(text_lines(path, notes), (0, "{}"))[1], f"{path}:1")
    if is_supervision(first) or is_recording(first):
        yield from _pair(path, "supervisions" if is_supervision(first) else "recordings", notes)
        return

    def read(numbered: tuple[int, str]) -> Iterator[Utterance]:
        where, cut = _object(numbered, path)
        kind = cut.get("type", "MonoCut")
        if kind not in ("MonoCut", "MultiCut") or not isinstance(cut.get("recording"), dict):
            raise InputError(f"{where}: a {kind} without one recording; write its sound to files with lhotse's "
                             "CutSet.save_audios, and import the cuts that it returns")  # fmt: skip
        with _Malformed(where, "cut"):
            for name in cut.keys() - _CUT:
                notes.name("fields of cuts that are not used", name)
            yield from _cut(cut, where, path.parent, notes)

    yield from notes.each(read, text_lines(path, notes))


def is_supervision(fields: dict[str, Any]) -> bool:
    return {"recording_id", "start", "duration"} <= fields.keys() and not {"recording", "storage_type"} & fields.keys()


def is_recording(fields: dict[str, Any]) -> bool:
    return {"sources", "sampling_rate"} <= fields.keys()


def _object(numbered: tuple[int, str], path: Path) -> tuple[str, dict[str, Any]]:
    where = f"{path}:{numbered[0]}"
    return where, parse_object(numbered[1], where)


def _cut(cut: dict[str, Any], where: str, folder: Path, notes: Notes) -> Iterator[Utterance]:
    start_s, length_s = float(cut["start"]), float(cut["duration"])
    channels = _channels(cut.get("channel", 0))
    supervisions = cut.get("supervisions") or [{"start": 0.0, "duration": length_s}]
    for s in supervisions:
        begin_s, end_s = max(0.0, s["start"]), min(length_s, s["start"] + s["duration"])
        if end_s <= begin_s:
            raise ValueError(f"supervision from {begin_s} s to {end_s} s of the cut")
        if s["start"] < -SLACK_S or s["start"] + s["duration"] > length_s + SLACK_S:
            notes.add("supervisions beyond their cut end with it, their texts stay whole", str(s["id"]))
        own = _channels(s.get("channel", cut.get("channel", 0)))
        if not own <= channels:
            notes.add("supervisions on a channel that their cut lacks are read on that of the cut", str(s["id"]))
            own = channels
        utterance = _utterance(s, where, notes, cut.get("custom"))
        utterance.id = str(cut["id"] if len(supervisions) == 1 else s["id"])
        utterance.audio, utterance.channel = _source(cut["recording"], own, where, folder, notes)
        utterance.start_s, utterance.duration_s = round(start_s + begin_s, 6), round(end_s - begin_s, 6)
        yield utterance


def _utterance(s: dict[str, Any], where: str, notes: Notes, custom: dict[str, Any] | None = None) -> Utterance:
    """The supervision's own fields: text, speaker, language and others."""
    for name in s.keys() - _SUPERVISION:
        notes.name("fields of supervisions that are not used", name)
    extra: dict[str, Any] = {"gender": s["gender"]} if s.get("gender") is not None else {}
    for name, value in {**(custom or {}), **(s.get("custom") or {})}.items():
        if isinstance(value, dict) and ("storage_type" in value or "array" in value or "sources" in value):
            notes.name("custom arrays and recordings that are not used", name)
        else:
            extra[extra_name(name)] = value
    text = s.get("text")
    if "text" in s and text is None:
        extra["text"] = None
    return Utterance(str(s.get("id", "")), text=None if text is None else one_line(text), speaker=s.get("speaker"),
                     lang=s.get("language"), extra=extra)  # fmt: skip


def _pair(path: Path, kind: str, notes: Notes) -> Iterator[Utterance]:
    supervisions_path, recordings_path = _both(path, kind)
    recordings = {}
    for numbered in text_lines(recordings_path, notes):
        where, fields = _object(numbered, recordings_path)
        with _Malformed(where, "recording"):
            recordings[fields["id"]] = where, fields
    unused = dict.fromkeys(recordings)

    def read(numbered: tuple[int, str]) -> Iterator[Utterance]:
        where, s = _object(numbered, supervisions_path)
        with _Malformed(where, "supervision"):
            if s["recording_id"] not in recordings:
                raise InputError(f"{where}: recording '{s['recording_id']}' is not in {recordings_path}; add it")
            there, recording = recordings[s["recording_id"]]
            utterance = _utterance(s, where, notes)
            utterance.start_s, utterance.duration_s = round(float(s["start"]), 6), round(float(s["duration"]), 6)
            if utterance.start_s < 0 or utterance.duration_s <= 0:
                raise ValueError(f"supervision from {s['start']} s for {s['duration']} s")
            channels = _channels(s.get("channel", 0))
            utterance.audio, utterance.channel = _source(recording, channels, there, recordings_path.parent, notes)
            unused.pop(s["recording_id"], None)
            yield utterance

    yield from notes.each(read, text_lines(supervisions_path, notes))
    for id in unused:
        notes.add("recordings without a supervision", str(id))


def _both(path: Path, kind: str) -> tuple[Path, Path]:
    """The files of supervisions and of recordings; `path` is that of `kind`."""
    other = "recordings" if kind == "supervisions" else "supervisions"
    names = [path.name.replace(kind, other), path.name.replace(kind[:-1], other[:-1])]
    stems = [name.removesuffix(".gz") for name in names]
    for name in [*names, *stems, *(f"{stem}.gz" for stem in stems)]:
        if name not in (path.name, path.name.removesuffix(".gz")) and (path.parent / name).exists():
            found = path.parent / name
            return (path, found) if kind == "supervisions" else (found, path)
    raise InputError(f"{path} holds lhotse {kind} and there is no file of {other} next to it; expected "
                     f"{path.parent / (names[0] if names[0] != path.name else f'{other}.jsonl')}")  # fmt: skip


def _channels(channel: int | list[int]) -> set[int]:
    return set(channel if isinstance(channel, list) else [channel])


def _source(
    recording: dict[str, Any], wanted: set[int], where: str, folder: Path, notes: Notes
) -> tuple[str, int | None]:
    """(file, channel in it) of the wanted channels of a recording; channel None is the mean of all.

    Raises InputError if they are not in one file, and for sound that differs from the file's.
    """
    names = [t.get("name", "?") if isinstance(t, dict) else str(t) for t in recording.get("transforms") or []]
    if changed := [name for name in names if name not in _SAME_SOUND]:
        raise InputError(f"{where}: recording '{recording['id']}' has transforms ({', '.join(changed)}); write the "
                         "transformed sound to files with lhotse's CutSet.save_audios")  # fmt: skip
    if names:
        notes.add("resampling is left to the toolkit", str(recording["id"]))
    source = next((s for s in recording["sources"] if wanted & set(s["channels"])), recording["sources"][0])
    if source["type"] != "file":
        raise InputError(f"{where}: source of type '{source['type']}', expected 'file'; save the recording to a file")
    path, channels = locate(source["source"], folder), list(source["channels"])
    if set(channels) == wanted:
        return path, None
    if len(wanted) == 1 and wanted <= set(channels):
        return path, sorted(channels).index(min(wanted))
    raise InputError(f"{where}: uses channels {sorted(wanted)} of {channels}; save them to one file of their own")


class _Malformed:
    """Turns errors of missing and mistyped fields into an InputError that names the line."""

    def __init__(self, where: str, what: str):
        self.where, self.what = where, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (KeyError, TypeError, ValueError, AttributeError)) and not isinstance(error, InputError):
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{self.where}: not a lhotse {self.what} ({reason}); export it again") from error
