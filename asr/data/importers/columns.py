"""What the columns of a table, or the fields of JSON lines, mean: by their names, with a unit at the end for times.

    start_s, begin, start_time_ms, onset, start_sample ...    where the utterance begins in the recording
    end, stop, end_time, end_ms ...                           where it ends
    duration, dur, duration_ms ...                            how long it lasts

A time without unit is in seconds, or written as h:mm:ss. A column that looks like a start or an end but has another
name is refused: leaving it out would attach the text to other sound.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from asr.data.importers.reading import number
from asr.errors import InputError
from asr.literals import parse_digits

COLUMNS = {  # the first that has a value is used
    "id": ("id", "utt_id", "utterance_id", "uttid", "utt", "key", "utterance", "segment_id"),
    "audio": (
        "audio", "path", "file", "filename", "file_name", "audio_path", "audio_filepath", "audio_file",
        "audio_filename", "wav", "wav_filename", "wav_path", "wav_file", "filepath", "file_path", "recording", "clip",
        "fname", "audio_file_path", "clip_path", "sound",
        "파일", "파일명", "파일_경로", "음성", "음성_파일", "오디오",
    ),
    "text": (
        "text", "sentence", "transcript", "transcription", "transcripts", "txt", "wrd", "words", "normalized_text",
        "normalised_text", "norm_text", "raw_text", "raw_transcription", "src_text", "tgt_text",
        "전사", "전사문", "텍스트", "문장", "발화", "대본",
    ),
    "text_file": ("text_filepath", "text_path", "text_file", "transcript_path", "transcription_path", "transcript_file",
                  "txt_path"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "spk_id", "spkid", "speakerid", "speaker_name", "talker",
                "화자", "발화자", "화자_id"),
    "lang": ("lang", "language", "locale", "lang_id", "language_id", "source_lang", "언어"),
    "channel": ("channel", "chan", "audio_channel", "channel_index", "channel_number", "channel_selector",
                "채널"),
    "features": ("features", "feats"),
}  # fmt: skip
_TIMES = {
    "start": {"start", "begin", "start_time", "begin_time", "starttime", "begintime", "segment_start", "seg_start",
              "onset", "xmin", "tmin", "offset", "start_offset", "time_start", "time_begin", "segment_begin", "t0",
              "시작", "시작_시간", "시작시간"},
    "end": {"end", "stop", "end_time", "stop_time", "endtime", "stoptime", "segment_end", "seg_end", "xmax", "tmax",
            "end_offset", "time_end", "time_stop", "finish", "t1",
            "끝", "종료", "종료_시간", "종료시간"},
    "duration": {"duration", "dur", "segment_duration", "seg_duration"},
}  # fmt: skip
_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "msecs": 1e-3,
          "millis": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "usec": 1e-6, "microseconds": 1e-6,
          "min": 60.0, "minutes": 60.0, "초": 1.0, "밀리초": 1e-3}  # fmt: skip
_SAMPLES = {"sample", "samples", "smp"}
_LOOKS_LIKE_TIME = {"start", "begin", "onset", "end", "stop", "offset", "starttime", "endtime", "in", "out",
                    "anfang", "beginn", "ende", "début", "debut", "fin", "inicio", "inizio", "fine",
                    "开始", "结束", "開始", "終了", "начало", "конец"}  # fmt: skip
_LENGTHS = {"length", "len", "num", "n", "nframes"}  # with the samples or frames of num_samples, n_frames
_RATES = ("sample_rate", "sampling_rate", "sample_rate_hz", "sr", "fs", "samplerate")
_CLOCK = re.compile(r"(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9}(?:[.,]\d+)?)")
SAMPLES = 0.0  # a unit: seconds per sample come from the recording


@dataclass(frozen=True)
class Time:
    name: str  # of the column
    unit_s: float  # seconds, or SAMPLES


@dataclass
class Times:
    """The columns that give the part of the recording; `odd`: columns that may be times of an unknown kind."""

    start: Time | None = None
    end: Time | None = None
    duration: Time | None = None
    odd: list[str] = field(default_factory=list)


@lru_cache(maxsize=1024)
def fields_of(names: tuple[str, ...]) -> dict[str, str]:
    """The column for each key of `COLUMNS` that there is one for."""
    plain = {plain_name(name): name for name in reversed(names)}
    found = {kind: plain[n] for kind, known in COLUMNS.items() if (n := next((n for n in known if n in plain), None))}
    if "text" not in found and plain_name(found.get("id", "")) == "utterance":
        found["text"] = found.pop("id")
    return found


@lru_cache(maxsize=1024)
def times_of(names: tuple[str, ...]) -> Times:
    """The times among the columns of a table. Raises InputError if two columns are the start, or the end."""
    times = Times()
    plain = {_split(name)[0] for name in names}
    for name in names:
        base, unit_s = _split(name)
        kind = next((kind for kind, bases in _TIMES.items() if base in bases), None)
        if base in ("length", "len") and base != plain_name(name):  # without unit it may count letters
            kind = "duration"
        if base == "offset" and "onset" in plain:
            kind = "end"
        if base in ("from", "to") and {"from", "to"} <= plain:
            kind = "start" if base == "from" else "end"
        if kind is None or unit_s is None:
            if kind or _LOOKS_LIKE_TIME & set(plain_name(name).split("_")):
                times.odd.append(name)
            continue
        earlier = getattr(times, kind)
        if earlier is None:
            setattr(times, kind, Time(name, unit_s))
        elif kind != "duration":  # of two durations, the second is kept as it is
            raise InputError(f"the columns '{earlier.name}' and '{name}' both give the {kind}; remove one")
    if times.start and not (times.end or times.duration):  # else a length may be that of the text or of the file
        times.odd += [name for name in names if _split(name)[0] in _LENGTHS]
    return times


@lru_cache(maxsize=1024)
def plain_name(name: str) -> str:
    """A name in lower case, with `_` between its words: "Speaker ID" and "speakerId" are "speaker_id"."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", unicodedata.normalize("NFC", name))
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _split(name: str) -> tuple[str, float | None]:
    """(name without unit, seconds per unit); None is an unknown unit: "start_time_ms" is ("start_time", 0.001)."""
    words = plain_name(name).split("_")
    unit_s: float | None = 1.0
    if len(words) > 1 and (words[-1] in _UNITS or words[-1] in _SAMPLES):
        unit_s = _UNITS.get(words.pop(), SAMPLES)
    elif len(words) > 1 and words[0] in _SAMPLES:
        words.pop(0)
        unit_s = SAMPLES
    elif len(words) > 1 and words[-1] in ("frame", "frames", "idx", "index"):
        words.pop()
        unit_s = None
    if len(words) > 1 and words[-1] == "in":  # start_in_seconds
        words.pop()
    return "_".join(words), unit_s


def seconds(row: dict[str, Any], time: Time, where: str, audio: str) -> float:
    """The value of a time column of a row. Raises InputError if it is not a time, naming the column."""
    value, where = row[time.name], f"{where}: field '{time.name}'"
    if time.unit_s == SAMPLES:
        return number(value, where, "a number of samples") / _rate_hz(row, where, audio)
    if time.unit_s == 1.0 and isinstance(value, str) and (clock := _CLOCK.fullmatch(value)):
        hours, minutes, rest = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))
    unit = "seconds" if time.unit_s == 1.0 else "a number"
    if isinstance(value, str) and re.fullmatch(r"-?\d+,\d+", value):  # in other places a comma between thousands
        unit += " with a point, as in 1.5"
    return number(value, where, unit) * time.unit_s


def _rate_hz(row: dict[str, Any], where: str, path: str) -> float:
    from asr.features import audio

    for name in _RATES:
        if row.get(name) not in (None, ""):
            rate_hz = number(row[name], f"{where}: field '{name}'", "a sample rate in Hz")
            if rate_hz > 0:
                return rate_hz
            raise InputError(f"{where}: field '{name}' is {rate_hz}; expected a sample rate in Hz")
    try:
        return audio.info(path).sample_rate_hz
    except InputError as e:
        raise InputError(f"{where} counts samples, and the rate is unknown ({e}); add a column sample_rate") from e


def channel_of(value: Any, where: str) -> int | None:
    """A channel counted from 0; None for all of them. Letters and sides are understood."""
    plain = str(value).strip().lower()
    sides = {"a": 0, "b": 1, "l": 0, "r": 1, "left": 0, "right": 1}
    if plain in ("mono", "mix", "both", "stereo"):
        return None
    if plain in sides:
        return sides[plain]
    if (number := parse_digits(plain.removesuffix(".0"))) is not None:
        return number
    raise InputError(f"{where} is {value!r}; expected a channel: 0 for the first, 1, ..., or left, right, A, B")
