"""Kaldi data folders.

    wav.scp     id FILE, or a standard pipe (see `pipes`); with segments the id of a recording, else of an utterance
    feats.scp   id FILE:OFFSET, used if there is no wav.scp
    segments    utterance recording start end [channel, from 0]; end -1 is the end of the recording
    text        id words; a line without words says that nothing is said
    utt2spk or spk2utt, utt2lang, spk2gender, utt2X and spk2X: kept as speaker, lang, gender, X
    reco2file_and_channel: the channel of recordings with several

Other files are named as not used.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from asr.data.importers.notes import Notes
from asr.data.importers.pipes import file_of_pipe
from asr.data.importers.reading import channel_count, extra_name, locate, number, one_line, text_lines
from asr.errors import InputError
from asr.manifest import Utterance

_DERIVED = {"utt2dur", "utt2num_frames", "utt2max_frames"}  # follow from the recordings
_READ = {"wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2lang", "reco2file_and_channel"}


def read_kaldi(folder: Path, notes: Notes) -> Iterator[Utterance]:
    """The utterances of wav.scp or feats.scp. Raises InputError naming file and line, or file and utterance."""
    has_text = (folder / "text").exists()
    text = _pairs(folder / "text", notes, optional=True)
    speaker = _speakers(folder, notes)
    lang = _pairs(folder / "utt2lang", notes, optional=True)
    kept = _kept(folder, notes)
    has_audio = (folder / "wav.scp").exists()
    used = _READ | kept.keys() | (set() if has_audio else {"feats.scp"})
    for path in sorted(folder.iterdir()):
        if path.name not in used and not path.name.startswith("."):
            notes.name("files that are not used", path.name)
    found = set()
    for utterance in _from_audio(folder, notes) if has_audio else _from_features(folder, notes):
        id = utterance.id
        found.add(id)
        if id in text:
            utterance.text = one_line(text[id])
        elif has_text:
            utterance.extra["text"] = None
        utterance.speaker, utterance.lang = speaker.get(id), lang.get(id)
        if speaker and id not in speaker:
            notes.add("utterances without a speaker in utt2spk", id)
        for name, values in kept.items():
            key = utterance.speaker if name.startswith("spk2") else id
            if key in values:
                utterance.extra[extra_name(name[4:])] = values[key]
        yield utterance
    for id in sorted(speaker.keys() - found):
        notes.add("utterances of utt2spk that the folder lacks", id)
    lost = text.keys() - found
    for id in sorted(lost - _listed(folder) if lost else lost):  # those that are listed are set aside already
        fault = f"{folder / 'text'}: utterance '{id}' is in no segments, wav.scp or feats.scp; remove it"
        notes.set_aside(InputError(fault))


def _listed(folder: Path) -> set[str]:
    """The ids of all utterances that the folder has sound or features of."""
    path = next(p for name in ("segments", "wav.scp", "feats.scp") if (p := folder / name).exists())
    return set(_pairs(path, Notes()))


def _speakers(folder: Path, notes: Notes) -> dict[str, str]:
    if (folder / "utt2spk").exists() or not (folder / "spk2utt").exists():
        return _pairs(folder / "utt2spk", notes, optional=True)
    speakers = _pairs(folder / "spk2utt", notes)
    return {id: speaker for speaker, utterances in speakers.items() for id in utterances.split()}


def _kept(folder: Path, notes: Notes) -> dict[str, dict[str, str]]:
    """Tables by utterance or speaker that become extra fields."""
    names = [p.name for p in folder.iterdir() if re.fullmatch(r"(utt|spk)2[a-z]\w*", p.name)]
    return {name: _pairs(folder / name, notes) for name in sorted(names) if name not in _READ | _DERIVED}


def _from_audio(folder: Path, notes: Notes) -> Iterator[Utterance]:
    recordings = _recordings(folder, notes)
    if not (folder / "segments").exists():
        yield from (Utterance(id, path, channel=channel) for id, (path, channel) in recordings.items())
        return
    segments = _pairs(folder / "segments", notes)
    yield from notes.each(lambda item: [_segment(*item, recordings, folder)], segments.items())
    used = {segment.split(maxsplit=1)[0] for segment in segments.values()}
    for id in recordings:
        if id not in used:
            notes.add("recordings of wav.scp without a segment", id)


def _segment(id: str, segment: str, recordings: dict[str, tuple[str, int | None]], folder: Path) -> Utterance:
    where, fields = f"{folder / 'segments'}: utterance '{id}'", segment.split()
    if len(fields) not in (3, 4) or fields[0] not in recordings:
        raise InputError(f"{where} is '{segment}'; expected a recording of wav.scp, start and end in seconds, "
                         "and a channel from 0 if it has several")  # fmt: skip
    start_s, end_s = number(fields[1], f"{where}, start"), number(fields[2], f"{where}, end")
    if start_s < 0 or (end_s <= start_s and end_s != -1):  # -1: to the end of the recording
        raise InputError(f"{where} goes from {start_s} s to {end_s} s; expected 0 <= start < end")
    path, channel = recordings[fields[0]]
    if len(fields) == 4:
        if not re.fullmatch(r"-1|[0-9]{1,9}", fields[3]):
            raise InputError(f"{where}: channel '{fields[3]}'; expected 0 for the first channel, 1, ...")
        channel = channel if fields[3] == "-1" else int(fields[3])
    duration_s = None if end_s == -1 else round(end_s - start_s, 6)
    return Utterance(id, path, start_s=start_s, duration_s=duration_s, channel=channel)


def _recordings(folder: Path, notes: Notes) -> dict[str, tuple[str, int | None]]:
    """(file, channel) of each recording of wav.scp."""
    sources = _pairs(folder / "wav.scp", notes)
    for id, source in sources.items():
        if source.endswith("|"):
            notes.add("commands are not run, the files that they convert are read", id)
    recordings = dict(notes.each(lambda item: [(item[0], _recording(*item, folder))], sources.items()))
    paths = [path for path, _ in recordings.values()]
    for id, value in _pairs(folder / "reco2file_and_channel", notes, optional=True).items():
        if id not in recordings:
            notes.add("recordings of reco2file_and_channel that wav.scp lacks", id)
            continue
        path, channel = recordings[id]
        name = value.split()[-1]
        if not re.fullmatch(r"[ABab]|[1-9][0-9]{0,8}", name):
            raise InputError(f"{folder / 'reco2file_and_channel'}: '{id}' has channel '{name}'; expected A, B, 1, 2")
        several = (channel_count(path) or paths.count(path)) > 1
        if channel is None and several:  # else it only names the side of a file that was split before
            recordings[id] = path, int(name) - 1 if name.isdigit() else "ab".index(name.lower())
    return recordings


def _recording(id: str, source: str, folder: Path) -> tuple[str, int | None]:
    where = f"{folder / 'wav.scp'}: '{id}'"
    if source.endswith("|"):
        try:
            file, channel = file_of_pipe(source)
        except InputError as e:
            raise InputError(
                f"{where} is the output of a command ({source}); commands are not run, and this one is no plain "
                f"conversion of a file ({e}): write the output to a file and give its name"
            ) from e
        return locate(file, folder), channel
    if ".ark:" in source or re.search(r":\d+$", source):
        raise InputError(f"{where} is in an archive ({source}); extract it to a file: wav-copy scp:wav.scp ...")
    if source == "-" or re.search(r"\[[\d:]+\]$", source):
        raise InputError(f"{where} is '{source}'; expected a file")
    return locate(source, folder), None


def _from_features(folder: Path, notes: Notes) -> Iterator[Utterance]:
    for id, place in _pairs(folder / "feats.scp", notes).items():
        if place.endswith("|") or place.endswith("]"):
            raise InputError(f"{folder / 'feats.scp'}: '{id}' is {place}; expected file:offset; write the "
                             "features with copy-feats")  # fmt: skip
        archive, _, offset = place.rpartition(":")
        yield Utterance(id, features=f"{locate(archive, folder)}:{offset}" if archive else locate(place, folder))
    if (folder / "segments").exists():
        notes.name("files that are not used, since stored features belong to utterances", "segments")


def _pairs(path: Path, notes: Notes, optional: bool = False) -> dict[str, str]:
    """A Kaldi table with lines `key value`, as key -> value."""
    if optional and not path.exists():
        return {}
    pairs: dict[str, str] = {}
    for line_number, line in text_lines(path, notes):
        key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
        if key in pairs:
            raise InputError(f"{path}:{line_number}: '{key}' occurs twice; keep one line")
        if not value and path.name != "text":
            raise InputError(f"{path}:{line_number}: '{key}' has no value; expected 'key value'")
        pairs[key] = value.strip()
    return pairs
