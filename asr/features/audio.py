"""Decoding audio: a file, a segment of it, or a recording in memory -> (T,) float32 mono samples at any rate.

Sound is decoded whole or refused. `asr.features.containers` reads what the file holds; libsndfile decodes wav, flac,
ogg/opus, mp3 and more, PyAV what phones and browsers record; soxr resamples. Segments are reached by seeking. Limits
are checked during decoding, so that a broken or hostile file cannot exhaust the memory.
"""

import io
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import IO, cast

import numpy as np
import soxr

from asr.errors import InputError
from asr.features.containers.contents import find_recordings, media_format
from asr.features.containers.view import Recording, View
from asr.features.media import Media, has_pyav
from asr.features.mixing import Mixer
from asr.features.sound import RATES_HZ, SLACK_S, Recordings, Sound, Undecodable
from asr.files import check_name
from asr.members import member_of, read
from asr.remote import is_remote, open_remote

__all__ = [
    "RATES_HZ", "SLACK_S", "AudioInfo", "EmptyAudio", "blocks", "info", "load", "mono_blocks", "resampled",
    "resampled_blocks",
]  # fmt: skip


class EmptyAudio(InputError):
    """The file exists but holds no samples."""


Source = str | Path | bytes | bytearray | memoryview | IO[bytes]

BLOCK_SAMPLES = 1 << 18  # samples decoded at a time, over all channels
LOUDEST = 16.0  # float samples may exceed 1 slightly; above this limit they are unscaled integers
KNOWN_FILES = 1024  # files whose recordings are remembered: a corpus may cut many segments from one


@dataclass(frozen=True)
class AudioInfo:
    duration_s: float
    sample_rate_hz: int
    channels: int


def load(
    source: Source,
    start_s: float = 0.0,
    duration_s: float | None = None,
    sample_rate_hz: int = 16000,
    max_s: float | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """Decode `source` from `start_s` for `duration_s` (None: to the end) -> (T,) float32 mono samples in [-1, 1].

    `source` is a path, the bytes of a file, or a binary file object. Its channels are averaged, unless `channel`
    (counted from 0) chooses one. Raises InputError if it is missing, empty, not audio, truncated, shorter than the
    segment, or longer than `max_s` (checked before more is decoded), if it holds NaN or infinite samples, if it has no
    such channel, and if its channels cancel each other.
    """
    if not isinstance(sample_rate_hz, Real) or not RATES_HZ[0] <= sample_rate_hz <= RATES_HZ[1]:
        raise InputError(f"sample_rate_hz={sample_rate_hz!r} must be a number from {RATES_HZ[0]} to {RATES_HZ[1]}")
    with _open(source) as sound:
        mono = list(_mono(sound, _name(source), start_s, duration_s, max_s, channel))  # each (n,)
        rate_hz = sound.rate_hz
    samples = np.concatenate(mono)  # (T at the file's rate,)
    if rate_hz != sample_rate_hz:
        samples = soxr.resample(samples, rate_hz, sample_rate_hz)
    return np.clip(samples, -1.0, 1.0)


def blocks(
    source: Source, start_s: float = 0.0, duration_s: float | None = None, max_s: float | None = None
) -> Iterator[np.ndarray]:
    """Decode at the file's own rate, with all channels: (n, C) float32 blocks. Raises InputError as `load` does."""
    with _open(source) as sound:
        yield from _decode(sound, _name(source), start_s, duration_s, max_s)


def mono_blocks(
    source: Source,
    start_s: float = 0.0,
    duration_s: float | None = None,
    max_s: float | None = None,
    channel: int | None = None,
) -> Iterator[np.ndarray]:
    """As `blocks`, with the channels averaged or one chosen: (n,) float32 blocks, not clipped."""
    with _open(source) as sound:
        yield from _mono(sound, _name(source), start_s, duration_s, max_s, channel)


def resampled_blocks(source: Source, sample_rate_hz: int, max_s: float | None = None) -> Iterator[np.ndarray]:
    """The samples of `load` as (n,) blocks. The memory does not grow with the length or the rate of the recording."""
    with _open(source) as sound:
        yield from resampled(_mono(sound, _name(source), 0.0, None, max_s, None), sound.rate_hz, sample_rate_hz)


def resampled(blocks: Iterable[np.ndarray], rate_hz: float, wanted_hz: int) -> Iterator[np.ndarray]:
    """Blocks (n,) of one recording at `rate_hz` -> blocks (n',) at `wanted_hz`, clipped to [-1, 1]."""
    if rate_hz == wanted_hz:
        yield from (np.clip(block, -1.0, 1.0) for block in blocks)
        return
    stream = soxr.ResampleStream(rate_hz, wanted_hz, 1, dtype="float32")
    for block in blocks:
        yield np.clip(stream.resample_chunk(block), -1.0, 1.0)
    yield np.clip(stream.resample_chunk(np.zeros(0, np.float32), last=True), -1.0, 1.0)


def info(source: Source) -> AudioInfo:
    """Length, rate and channels, without decoding. Raises InputError as `load` does for a file that is not audio."""
    with _open(source) as sound:
        return AudioInfo(sound.frames / sound.rate_hz, sound.rate_hz, sound.channels)


@contextmanager
def _open(source: Source) -> Iterator[Sound]:
    name = _name(source)
    with _opened(source) as opened, _sound_in(opened, name) as sound:
        yield sound


def _opened(source: Source) -> AbstractContextManager[Source]:
    if isinstance(source, str) and (member := member_of(source)):
        return nullcontext(read(member))
    return open_remote(source) if isinstance(source, str) and is_remote(source) else nullcontext(source)


@contextmanager
def _sound_in(source: Source, name: str) -> Iterator[Sound]:
    stream = _stream(source, name)
    if isinstance(stream, str):
        check_name(stream)
        stat = os.stat(stream)
        # the time of the last change, of name or content, which no program can set back
        found = _recordings_of(stream, stat.st_size, (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns))
    else:
        found = _examine(stream, stream.seek(0, io.SEEK_END), name)
    sound = _sound(name, stream, found)
    try:
        yield sound
    finally:
        sound.close()


def _sound(name: str, stream: str | IO[bytes], found: tuple[Recording, ...] | str) -> Sound:
    if isinstance(found, str):
        return Media(name, stream, found)
    try:
        return Recordings(name, stream, found)
    except Undecodable:
        kind = found[0].kind
        format = {"wav": "wav", "caf": "caf", "speex": "ogg"}.get(kind)
        if format is None or not has_pyav():
            raise
        return Media(name, stream, format, any(recording.cut for recording in found))


@lru_cache(KNOWN_FILES)
def _recordings_of(path: str, size: int, _identity: tuple[int, ...]) -> tuple[Recording, ...] | str:
    with open(path, "rb") as file:
        return _examine(file, size, path)


def _examine(file: IO[bytes], size: int, name: str) -> tuple[Recording, ...] | str:
    """The recordings of a file that libsndfile reads, or what FFmpeg calls its format."""
    try:
        found = find_recordings(file, size)
    except InputError as e:
        raise InputError(f"{name} {e}") from e.__cause__
    if found:
        return tuple(found)
    if found is not None:
        raise EmptyAudio(f"{name} holds no samples: it ends within its header; record or copy it again")
    if format := media_format(file, size):
        return format
    raise InputError(
        f"{name} is not audio in a known format; expected wav, flac, ogg/opus, mp3 or m4a. Samples without a header "
        "need one: sox -t raw -r 16000 -e signed -b 16 -c 1 IN.raw OUT.wav"
    )


def _name(source: Source) -> str:
    return str(source) if isinstance(source, (str, Path)) else "audio given in memory"


def _stream(source: Source, name: str) -> str | IO[bytes]:
    """A path or seekable file object. Raises InputError if it is missing, unreadable or empty."""
    if isinstance(source, (str, Path)):
        if not os.path.exists(source):
            raise InputError(f"audio file {name} does not exist; check the path")
        if not os.path.isfile(source):
            raise InputError(f"{name} is not a file; expected one audio file")
        if not os.access(source, os.R_OK):
            raise InputError(f"no permission to read audio file {name}; change its permissions")
        empty = os.path.getsize(source) == 0
        stream: str | IO[bytes] = os.fspath(source)
    else:
        if isinstance(source, bytes | bytearray | memoryview):
            stream = io.BytesIO(source)
        elif not hasattr(source, "read") or isinstance(source, io.TextIOBase):
            raise InputError(f"audio is a path, bytes or an open binary file, not {type(source).__name__}")
        else:
            stream = source if source.seekable() else io.BytesIO(source.read())
        at = stream.tell()
        size = stream.seek(0, io.SEEK_END) - at
        empty = size <= 0
        if not empty:
            stream = cast(IO[bytes], View(stream, ((at, size),)))
    if empty:
        raise EmptyAudio(f"{name} is empty (0 bytes); record or copy it again")
    return stream


def _mono(
    sound: Sound, name: str, start_s: float, duration_s: float | None, max_s: float | None, channel: int | None
) -> Iterator[np.ndarray]:
    mixer = Mixer(name, sound.channels, channel)
    for block in _decode(sound, name, start_s, duration_s, max_s):
        yield mixer.mix(block)
    mixer.check()


def _decode(
    sound: Sound, name: str, start_s: float, duration_s: float | None, max_s: float | None
) -> Iterator[np.ndarray]:
    """Yield (n, C) float32 blocks of the segment; its limits are checked first, its samples on the way."""
    if not sound.frames:
        raise EmptyAudio(f"{name} holds no samples; record or copy it again")
    start, stop = _segment(name, sound.rate_hz, sound.frames, start_s, duration_s)
    most = math.inf if max_s is None or math.isinf(max_s) else round(max_s * sound.rate_hz)
    if stop - start > most:
        raise InputError(f"{name} is longer than {max_s:g} s; cut it, or raise max_audio_s")
    done = 0
    for block in sound.decode(start, stop, max(1, BLOCK_SAMPLES // sound.channels)):
        _check_samples(block, name)
        done += len(block)
        if done > most + SLACK_S * sound.rate_hz:
            raise InputError(f"{name} is longer than it announces, and than {max_s:g} s; convert it again")
        yield block
    if not done:
        raise EmptyAudio(f"{name} holds no samples; record or copy it again")


def _segment(name: str, rate_hz: int, frames: int, start_s: float, duration_s: float | None) -> tuple[int, int]:
    """The first frame of a segment and the frame after its last."""
    times = (start_s, 1.0 if duration_s is None else duration_s)
    are_numbers = all(isinstance(time, Real) and math.isfinite(time) for time in times)
    if not are_numbers or start_s < 0 or round(sum(times) * rate_hz) <= round(start_s * rate_hz):
        raise InputError(f"{name}: a segment from {start_s} s for {duration_s} s is empty; correct its times")
    start = round(start_s * rate_hz)
    stop = frames if duration_s is None else round((start_s + duration_s) * rate_hz)
    if start >= frames or stop > frames + SLACK_S * rate_hz:
        asked = f"from {start_s:.2f} s" if duration_s is None else f"{start_s:.2f} s to {start_s + duration_s:.2f} s"
        raise InputError(f"{name} lasts {frames / rate_hz:.2f} s, the segment asked for is {asked}; correct its times")
    return start, min(stop, frames)


def _check_samples(block: np.ndarray, name: str) -> None:
    peak = max(block.max(), -block.min())
    if not np.isfinite(peak):  # max and min propagate NaN
        raise InputError(f"{name} holds NaN or infinite samples; export it again from the source")
    if peak > LOUDEST:
        raise InputError(f"{name} holds samples up to {peak:g}; scale float audio to [-1, 1]")
