"""The recordings in a file, told by its contents and not by its name."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import IO

from asr.errors import InputError
from asr.features.containers import flac, mpeg, ogg, riff, simple
from asr.features.containers.extent import LITTLE, read_at
from asr.features.containers.view import Recording

Reader = Callable[[IO[bytes], int, int], tuple[Recording | None, int]]

KINDS: tuple[tuple[str, Callable[[bytes], bool], Reader], ...] = (
    ("wav", riff.is_riff, riff.read_riff),
    ("w64", riff.is_w64, riff.read_w64),
    ("flac", flac.is_flac, flac.read_flac),
    ("ogg", ogg.is_ogg, ogg.read_ogg),
    ("aiff", simple.is_aiff, simple.read_aiff),
    ("au", simple.is_au, simple.read_au),
    ("caf", simple.is_caf, simple.read_caf),
    ("voc", simple.is_voc, simple.read_voc),
    ("sphere", simple.is_sphere, simple.read_sphere),
)

# (offset, bytes, what FFmpeg calls the format) of files that PyAV reads.
MEDIA = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"#!AMR", "amr"),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    (0, b"ADIF", "aac"),
    (0, b"\xff\xf0", "aac"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf8", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"TTA1", "tta"),
    (8, b"AVI ", "avi"),
)


def media_format(file: IO[bytes], size: int) -> str | None:
    """What FFmpeg calls the format of a file that PyAV reads; None for other files."""
    head = read_at(file, _behind_tags(file, size), 189)
    if head[:1] == head[188:] == b"G":
        return "mpegts"
    return next((name for at, magic, name in MEDIA if head[at : at + len(magic)] == magic), None)


def find_recordings(file: IO[bytes], size: int) -> list[Recording] | None:
    """The recordings of a file that libsndfile reads, in order; None if it is of another kind.

    A list without entries: the file ends before its first sample. Raises InputError, whose message continues the
    name of the file, for a known kind that cannot be read.
    """
    start = _behind_tags(file, size)
    reader = _reader(file, start)
    if reader is None and not media_format(file, size) and mpeg.is_mpeg(file, size):
        start, reader = 0, mpeg.read_mpeg
    if reader is None:
        return None
    found: list[Recording] = []
    while start < size:
        first = start
        try:
            recording, start = reader(file, size, first)
            assert start > first
        except (ValueError, LookupError, ArithmeticError, OSError, struct.error) as e:
            if isinstance(e, InputError):
                raise
            raise InputError("has a damaged header; convert or copy it again") from e
        if recording is None and found:
            raise InputError(
                f"is truncated: recording {len(found) + 1} ends within its header; copy or record it again"
            )
        if recording and not recording.pieces and start < size:  # libsndfile must not see what follows
            recording = replace(recording, pieces=((first, start - first),))
        found += [recording] if recording else []
    return found


def _behind_tags(file: IO[bytes], size: int) -> int:
    return mpeg.skip_tags(file, size, 0) if read_at(file, 0, 3) == b"ID3" else 0


def _reader(file: IO[bytes], start: int) -> Reader | None:
    head = read_at(file, start, LITTLE)
    return next((reader for _, is_kind, reader in KINDS if is_kind(head)), None)
