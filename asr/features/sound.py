"""An open sound file: its recordings, one after another, decoded by libsndfile."""

import os
from collections.abc import Iterator, Sequence
from typing import IO, Protocol

import numpy as np
import soundfile

from asr.errors import InputError
from asr.features.containers.view import Recording, View

SLACK_S = 0.1  # a segment may exceed its recording, and what a lossy codec promises its samples, by this much
RATES_HZ = (1000, 768000)  # sample rates outside this range mean a broken header
MP3_WARM_UP = 16 * 1152  # samples decoded before a seek target: an mp3 frame may need bits of earlier frames


class Undecodable(InputError):
    """libsndfile does not open the file."""


class Sound(Protocol):
    """An open sound file. Frames are counted over all its recordings."""

    rate_hz: int
    channels: int
    frames: int  # that the file promises

    def decode(self, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        """Blocks (n, C) float32 of at most `size` frames, from frame `start` to `stop`.

        Raises InputError if the file is damaged or ends before `stop`.
        """
        ...

    def close(self) -> None: ...


class _File(soundfile.SoundFile):
    def seekable(self) -> bool:
        """Always False, so that soundfile does not seek to the current position after each read. Such a seek loses the
        bits that the next mp3 frame needs, and fails at the end of a stream of unknown length. `seek` still works."""
        return False


def _has_fork(path: str) -> bool:
    """Whether macOS left a resource fork beside the file. For its sake libsndfile takes an mp3 for another format; of
    an open file it does not look for one."""
    folder, name = os.path.split(path)
    return any(os.path.exists(os.path.join(folder, fork)) for fork in (f"._{name}", os.path.join(".AppleDouble", name)))


class Recordings:
    """A `Sound` in a format that libsndfile reads: the `recordings` of a path or seekable file."""

    def __init__(self, name: str, source: str | IO[bytes], recordings: Sequence[Recording]):
        self.name, self.source, self.recordings = name, source, recordings
        self.own: IO[bytes] | None = None
        if isinstance(source, str) and (any(recording.pieces for recording in recordings) or _has_fork(source)):
            self.own = open(source, "rb")
        self.file = self._open(0)
        self.rate_hz, self.channels = self.file.samplerate, self.file.channels
        self.ends = [self.file.frames if recordings[0].frames is None else recordings[0].frames]
        try:
            self._check_rate()
            for number in range(1, len(recordings)):
                self.ends.append(self.ends[-1] + self._count(number))
        except InputError:
            self.close()
            raise
        self.frames = self.ends[-1]

    def close(self) -> None:
        self.file.close()
        if self.own:
            self.own.close()

    def _open(self, number: int) -> soundfile.SoundFile:
        recording, source = self.recordings[number], self.own or self.source
        try:
            if recording.pieces and not isinstance(source, str):
                return _File(View(source, recording.pieces))
            if not isinstance(source, str):
                source.seek(0)
            return _File(source)
        except (soundfile.SoundFileError, TypeError) as e:  # TypeError: headerless formats, chosen by the file's name
            if recording.cut:
                why = self._where(number) + recording.cut
                raise InputError(f"{self.name} is damaged or truncated: {why}; copy or record it again") from e
            why = getattr(e, "error_string", str(e)).rstrip(".")
            raise Undecodable(
                f"{self.name} is a damaged {recording.kind} file, or one that libsndfile does not decode ({why}); "
                "convert it again to wav or flac"
            ) from e

    def _check_rate(self) -> None:
        if not RATES_HZ[0] <= self.rate_hz <= RATES_HZ[1]:
            raise InputError(f"{self.name} has a broken header: a sample rate of {self.rate_hz} Hz; convert it again")

    def _count(self, number: int) -> int:
        """The frames of a recording. Raises InputError if its rate or channels are not those of the first."""
        with self._open(number) as file:
            if (file.samplerate, file.channels) != (self.rate_hz, self.channels):
                raise InputError(
                    f"{self.name} joins recordings of different forms ({self.rate_hz} Hz, {self.channels} channels; "
                    f"{file.samplerate} Hz, {file.channels} channels); split it"
                )
            frames = self.recordings[number].frames
            return file.frames if frames is None else frames

    def decode(self, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        first = 0
        for number, end in enumerate(self.ends):
            if start < end and first < stop:
                yield from self._decode(number, max(start, first) - first, min(stop, end) - first, end - first, size)
            elif start <= first == end <= stop:
                self._check_end(number, 0, 0, 0)
            first = end

    def _decode(self, number: int, start: int, stop: int, promised: int, size: int) -> Iterator[np.ndarray]:
        """Blocks of one recording, whose frames count from 0."""
        recording = self.recordings[number]
        file = self._open(number) if number else self.file
        at = start
        try:
            if start:
                self._seek(file, start, recording)
            while at < stop and len(block := file.read(min(size, stop - at), dtype="float32", always_2d=True)):
                at += len(block)
                yield block  # (n, C)
        except soundfile.SoundFileError as e:
            raise InputError(f"{self.name} is damaged or truncated ({self._where(number)}{str(e).rstrip('.')}); "
                             "copy or record it again") from e  # fmt: skip
        finally:
            if number:
                file.close()
        self._check_end(number, at, stop, promised)

    def _seek(self, file: soundfile.SoundFile, frame: int, recording: Recording) -> None:
        warm_up = MP3_WARM_UP if recording.kind == "mp3" else 0 if soundfile.SoundFile.seekable(file) else frame
        if recording.tail:
            warm_up = max(warm_up, frame - (file.frames - recording.tail))
        warm_up = min(warm_up, frame)
        if warm_up < frame:
            file.seek(frame - warm_up)
        while warm_up:
            warm_up -= len(file.read(min(warm_up, 1 << 16))) or warm_up

    def _check_end(self, number: int, at: int, stop: int, promised: int) -> None:
        """Raises InputError if a recording ended at frame `at` and not at `stop`, or if its end is missing."""
        recording = self.recordings[number]
        is_short = at < stop - (0 if recording.exact else round(SLACK_S * self.rate_hz))
        if recording.cut and (is_short or stop >= promised):
            where = f"{self._where(number)}{at / self.rate_hz:.2f} s could be decoded"
            raise InputError(
                f"{self.name} is damaged or truncated: {where}, then {recording.cut}; copy or record it again"
            )
        if is_short:
            raise InputError(
                f"{self.name} is truncated: {self._where(number)}its header announces {promised / self.rate_hz:.2f} s, "
                f"but only {at / self.rate_hz:.2f} s could be decoded; copy or record it again"
            )

    def _where(self, number: int) -> str:
        return f"in recording {number + 1} of {len(self.recordings)}, " if len(self.recordings) > 1 else ""
