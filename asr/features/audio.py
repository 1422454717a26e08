"""Decoding audio: a file, a segment of it, or a recording in memory -> (T,) float32 mono samples at any rate.

libsndfile decodes wav, flac, ogg/opus, mp3 and more; soxr resamples. Segments are reached by seeking. Limits are
checked during decoding, so that a broken or hostile file cannot exhaust the memory.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
import soxr

from asr.errors import InputError


class EmptyAudio(InputError):
    """The file exists but holds no samples."""


Source = str | Path | bytes | IO[bytes]

BLOCK_SAMPLES = 1 << 18  # samples decoded at a time, over all channels
SLACK_S = 0.1  # a segment, or the header of a lossy file, may exceed the decoded samples by this much
RATES_HZ = (1000, 768000)  # sample rates outside this range mean a broken header
LOUDEST = 16.0  # float samples may exceed 1 slightly; above this limit they are unscaled integers
UNKNOWN_FRAMES = 1 << 62  # libsndfile reports more frames than this if the header has no length
MP3_WARM_UP = 16 * 1152  # samples decoded before a seek target: an mp3 frame may need bits of earlier frames
STREAMED_BYTES = 0x7FFF0000  # a wav header written to a pipe announces about 2 or 4 GiB of samples


class _File(soundfile.SoundFile):
    def seekable(self) -> bool:
        """Always False, so that soundfile does not seek to the current position after each read. Such a seek loses the
        bits that the next mp3 frame needs, and fails at the end of a stream of unknown length. `seek` still works."""
        return False


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

    `source` is a path, the bytes of a file, or a binary file object; its channels are averaged unless `channel`,
    counted from 0, picks one. Raises InputError if there is no such channel, if the file is missing, empty, not audio,
    truncated, shorter than the segment, or longer than `max_s` (checked before more is decoded), and if it holds NaN or
    infinite samples.
    """
    with _open(source) as file:
        name = _name(source)
        mono = [mixed(block, channel, name) for block in _decode(file, name, start_s, duration_s, max_s)]  # each (n,)
        rate_hz = file.samplerate
    samples = np.concatenate(mono)  # (T at the file's rate,)
    if rate_hz != sample_rate_hz:
        samples = soxr.resample(samples, rate_hz, sample_rate_hz)
    return np.clip(samples, -1.0, 1.0)


def blocks(
    source: Source, start_s: float = 0.0, duration_s: float | None = None, max_s: float | None = None
) -> Iterator[np.ndarray]:
    """Decode at the file's own rate, with all channels: (n, C) float32 blocks. Raises InputError as `load` does."""
    with _open(source) as file:
        yield from _decode(file, _name(source), start_s, duration_s, max_s)


def mixed(block: np.ndarray, channel: int | None, name: str) -> np.ndarray:
    """(n, C) -> (n,): the mean of the channels, or one of them. Raises InputError if there is no such channel."""
    if channel is None:
        return block.mean(axis=1)
    if channel >= block.shape[1]:
        raise InputError(f"{name} has no channel {channel}; it has {block.shape[1]}, counted from 0")
    return block[:, channel]


def info(source: Source) -> AudioInfo:
    """Read the header. A stream without a length in its header is decoded to count its samples. Raises InputError as
    `load` does."""
    with _open(source) as file:
        frames = _promised_frames(file)
        if frames is None:
            frames = sum(len(block) for block in _decode(file, _name(source), 0.0, None, None))
        return AudioInfo(frames / file.samplerate, file.samplerate, file.channels)


@contextmanager
def _open(source: Source) -> Iterator[soundfile.SoundFile]:
    name = _name(source)
    stream = _stream(source, name)
    try:
        file = _File(stream)
    except (soundfile.SoundFileError, TypeError) as e:  # TypeError: headerless formats, chosen by the file's name
        raise InputError(f"{name} is not audio in a known format; expected wav, flac, ogg/opus or mp3") from e
    with file:
        if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
            raise InputError(f"{name} has a broken header: a sample rate of {file.samplerate} Hz; convert it again")
        yield file


def _name(source: Source) -> str:
    return str(source) if isinstance(source, (str, Path)) else "audio given in memory"


def _stream(source: Source, name: str) -> str | IO[bytes]:
    """A path or seekable file object for libsndfile. Raises InputError if the file is missing, unreadable or empty."""
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
        if isinstance(source, bytes):
            stream = io.BytesIO(source)
        else:
            stream = source if source.seekable() else io.BytesIO(source.read())
        at = stream.tell()
        empty = stream.seek(0, io.SEEK_END) == at
        stream.seek(at)
    if empty:
        raise EmptyAudio(f"{name} is empty (0 bytes); record or copy it again")
    return stream


def _promised_frames(file: soundfile.SoundFile) -> int | None:
    """The number of frames in the header; None if the header has no length.

    For a truncated wav libsndfile reports the frames that exist and only logs the number in the header, so the number
    is taken from its log.
    """
    if file.frames >= UNKNOWN_FRAMES:
        return None
    log = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if log and int(log[2]) < int(log[1]) < STREAMED_BYTES and int(log[2]) > 0:
        return round(file.frames * int(log[1]) / int(log[2]))
    return file.frames


def _decode(
    file: soundfile.SoundFile, name: str, start_s: float, duration_s: float | None, max_s: float | None
) -> Iterator[np.ndarray]:
    """Yield (n, C) float32 blocks of the segment; the header's length and all limits are checked on the way."""
    rate_hz, promised = file.samplerate, _promised_frames(file)
    slack = 0 if file.format == "FLAC" else round(SLACK_S * rate_hz)
    start, stop = _segment(name, rate_hz, promised, start_s, duration_s)
    limit = None if max_s is None or math.isinf(max_s) else round(max_s * rate_hz)
    try:
        if start:
            warm_up = min(start, MP3_WARM_UP) if file.format == "MP3" else 0
            file.seek(start - warm_up)
            file.read(warm_up)
        done = 0  # frames decoded
        while stop is None or start + done < stop:
            if limit is not None and (done if stop is None else stop - start) > limit:
                raise InputError(f"{name} is longer than {max_s:g} s; cut it or raise the limit")
            size = max(1, BLOCK_SAMPLES // file.channels)
            size = size if stop is None else min(size, stop - start - done)
            size = size if limit is None else min(size, limit + 1 - done)  # one more suffices to detect it
            block = file.read(size, dtype="float32", always_2d=True)  # (n, C)
            if not len(block):
                break
            _check_samples(block, name)
            done += len(block)
            yield block
    except soundfile.SoundFileError as e:
        raise InputError(f"{name} is damaged or truncated ({str(e).rstrip('.')}); copy or record it again") from e
    if not done:
        raise EmptyAudio(f"{name} holds no samples; record or copy it again")
    if stop is not None and start + done < stop - slack:
        raise InputError(
            f"{name} is truncated: its header announces {(promised or stop) / rate_hz:.2f} s, "
            f"but only {(start + done) / rate_hz:.2f} s could be decoded; copy or record it again"
        )


def _segment(
    name: str, rate_hz: int, frames: int | None, start_s: float, duration_s: float | None
) -> tuple[int, int | None]:
    """The first frame of a segment and the frame after its last (None: to the end of a stream of unknown length)."""
    if not start_s >= 0 or (duration_s is not None and not duration_s > 0):
        raise InputError(f"{name}: a segment from {start_s} s for {duration_s} s is empty; correct its times")
    start = round(start_s * rate_hz)
    stop = None if duration_s is None else round((start_s + duration_s) * rate_hz)
    if frames is None:
        return start, stop
    if frames and (start >= frames or (stop is not None and stop > frames + SLACK_S * rate_hz)):
        asked = f"from {start_s:.2f} s" if duration_s is None else f"{start_s:.2f} s to {start_s + duration_s:.2f} s"
        raise InputError(f"{name} lasts {frames / rate_hz:.2f} s, the segment asked for is {asked}; correct its times")
    return start, frames if stop is None else min(stop, frames)


def _check_samples(block: np.ndarray, name: str) -> None:
    peak = max(block.max(), -block.min())
    if not np.isfinite(peak):  # max and min propagate NaN
        raise InputError(f"{name} holds NaN or infinite samples; export it again from the source")
    if peak > LOUDEST:
        raise InputError(f"{name} holds samples up to {peak:g}; scale float audio to [-1, 1]")
