"""What phones and browsers record (m4a, mp4, webm, amr, wma ...), decoded by FFmpeg through PyAV, the package `av`."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any

import numpy as np

from asr.errors import InputError, missing
from asr.features.containers.media_ends import is_cut
from asr.features.sound import RATES_HZ, SLACK_S

NAMES = {"mov": "mp4 or m4a", "matroska": "webm or mkv", "asf": "wma", "wv": "WavPack", "ape": "Monkey's Audio"}
FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}


def _options(av: Any) -> dict[str, str]:
    """Before version 19, PyAV raised an error for titles and names that are not UTF-8."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def has_pyav() -> bool:
    return find_spec("av") is not None


class Media:
    """A `Sound` in a format that FFmpeg calls `format`. No other format is tried: some of them open further files."""

    def __init__(self, name: str, source: str | IO[bytes], format: str, is_cut: bool = False):
        """Raises InputError if PyAV is not installed, and if the file is damaged or has no sound."""
        self.name, self.source, self.format, self.is_cut = name, source, format, is_cut
        self.kind = NAMES.get(format, format)
        if not has_pyav():
            way = missing("media", f"reading {name} ({self.kind})", "PyAV")
            raise InputError(f"{way}; or convert it: ffmpeg -i IN OUT.flac")
        import av

        self.av: Any = av
        self.rate_hz = self.channels = self.frames = 0
        with self._opened() as (file, container, stream):
            self._measure(file, container, stream)

    def close(self) -> None:
        """Nothing is open between calls."""

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], Any, Any]]:
        file = open(self.source, "rb") if isinstance(self.source, str) else self.source
        try:
            file.seek(0)
            with self.av.open(file, format=self.format, **_options(self.av)) as container:
                sounds = container.streams.audio
                if not sounds:
                    raise InputError(f"{self.name} has no sound: it holds no audio stream")
                if len(sounds) > 1:
                    raise InputError(
                        f"{self.name} holds {len(sounds)} audio streams; extract one: "
                        "ffmpeg -i IN -map 0:a:0 OUT.flac (or 0:a:1, ...)"
                    )
                yield file, container, sounds[0]
        except (self.av.FFmpegError, ValueError) as e:
            if isinstance(e, InputError):
                raise
            why = getattr(e, "strerror", None) or str(e)
            raise InputError(
                f"{self.name} ({self.kind}) is damaged or truncated ({why}); copy or record it again"
            ) from e
        finally:
            if isinstance(self.source, str):
                file.close()

    def _measure(self, file: IO[bytes], container: Any, stream: Any) -> None:
        """Rate, channels and frames, from the headers and the packets. Raises InputError for a broken header."""
        if (context := stream.codec_context) is None:
            raise InputError(f"{self.name} ({self.kind}) is damaged, or of a codec that FFmpeg lacks; convert it again")
        self.rate_hz, self.channels = context.sample_rate, context.layout.nb_channels
        if not RATES_HZ[0] <= self.rate_hz <= RATES_HZ[1] or not self.channels:
            raise InputError(
                f"{self.name} has a broken header: {self.rate_hz} Hz, {self.channels} channels; convert it again"
            )
        sounding, end = 0, 0  # in units of the time base
        for packet in container.demux(stream):
            start, duration = end if packet.pts is None else packet.pts, packet.duration or 0
            follows = abs(start - end) <= 1  # times are rounded, to 1 ms in webm: the sum of durations would drift
            sounding += max(0, start + duration - max(0, end if follows else start))  # before 0 the decoder is prepared
            end = max(end, start + duration)
        if stream.duration and self.format == "mov":
            announced_s = sounding_s = float(stream.duration * stream.time_base)
        else:
            announced_s, sounding_s = (container.duration or 0) / 1e6, float(sounding * stream.time_base)
        self.frames = round(sounding_s * self.rate_hz)
        if not self.frames:
            raise InputError(
                f"{self.name} ({self.kind}) is damaged, truncated or without sound; copy or record it again"
            )
        size = file.seek(0, io.SEEK_END)
        self.is_cut = (
            self.is_cut or is_cut(file, size, self.format) or float(end * stream.time_base) < announced_s - SLACK_S
        )

    def decode(self, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        """From the start of the file, as few of these formats can be entered exactly.

        `frames` rests on rounded times. What is decoded beyond it belongs to the recording, except in mp4, whose
        edit list is exact.
        """
        at = 0  # the frame of the file
        most: float = math.inf if stop >= self.frames and self.format != "mov" else stop
        with self._opened() as (_, container, stream):
            for frame in container.decode(stream):
                block = self._samples(frame)  # (n, C)
                first, last = max(start - at, 0), int(min(most - at, len(block)))
                at += len(block)
                for begin in range(first, last, size):
                    yield block[begin : min(begin + size, last)]
                if at >= most:
                    break
        if self.is_cut and stop >= min(at, self.frames):
            raise InputError(
                f"{self.name} is damaged or truncated: {at / self.rate_hz:.2f} s could be decoded, "
                "then its end is missing; copy or record it again"
            )
        if at < stop - round(SLACK_S * self.rate_hz):
            raise InputError(
                f"{self.name} is truncated: its header announces {self.frames / self.rate_hz:.2f} s, but only "
                f"{at / self.rate_hz:.2f} s could be decoded; copy or record it again"
            )

    def _samples(self, frame: Any) -> np.ndarray:
        """(n, C) float32 in [-1, 1]. Raises InputError if rate or channels change within the file."""
        channels = frame.layout.nb_channels
        if frame.sample_rate != self.rate_hz or channels != self.channels:
            raise InputError(f"{self.name} changes its sample rate or channels on the way; convert it to flac")
        x = frame.to_ndarray()
        x = x.T if frame.format.is_planar else x.reshape(-1, channels)
        if x.dtype.kind == "f":
            return x.astype(np.float32)
        scale = FULL_SCALE[x.dtype.str[1:]]
        return ((x.astype(np.float64) - (scale if x.dtype.kind == "u" else 0)) / scale).astype(np.float32)
