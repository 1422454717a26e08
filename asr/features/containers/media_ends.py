"""Whether a file of a format that FFmpeg reads is cut: FFmpeg itself takes the end of such a file for its end."""

from collections.abc import Callable
from typing import IO

from asr.features.containers.extent import read_at

AMR_BYTES = {b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 6, 6, 6, 1, 1, 1, 1),
             b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1)}  # fmt: skip
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def is_cut(file: IO[bytes], size: int, format: str) -> bool:
    """Whether the last box, element or frame of the file is not whole; False for formats that are not known here."""
    walk = _WALKS.get(format)
    return walk is not None and walk(file, size) != size


def _mp4(file: IO[bytes], size: int) -> int:
    """Where the last box ends. It may have no size and reach to the end of the file."""
    at = 0
    while at < size:
        head = read_at(file, at, 16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return size if not length or not any(head) else size + 1
        at += length
    return at


def _matroska(file: IO[bytes], size: int) -> int:
    """Where the last element ends. Segments and clusters of a live recording have no size."""
    at = 0
    while at < size:
        head = read_at(file, at, 12)
        id_bytes = 9 - head[0].bit_length()
        size_bytes = 9 - head[id_bytes].bit_length() if id_bytes < len(head) else 9
        if id_bytes > 4 or size_bytes > 8 or id_bytes + size_bytes > len(head):
            return size + 1
        coded = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big")
        length = coded & (1 << 7 * size_bytes) - 1
        if length == (1 << 7 * size_bytes) - 1:
            length = 0  # unknown: its children follow
        elif head[:4] in (SEGMENT, CLUSTER):
            if at + id_bytes + size_bytes + length > size:
                return size + 1
            if head[:4] == SEGMENT:
                length = 0
        at += id_bytes + size_bytes + length
    return at


def _amr(file: IO[bytes], size: int) -> int:
    for magic, lengths in AMR_BYTES.items():
        if read_at(file, 0, len(magic)) == magic:
            at = len(magic)
            while at < size:
                at += lengths[read_at(file, at, 1)[0] >> 3 & 15]
            return at
    return size


def _adts(file: IO[bytes], size: int) -> int:
    at = 0
    while at < size:
        head = read_at(file, at, 6)
        if len(head) < 6:
            return size + 1
        if head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            return size  # tags
        at += max(7, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5)
    return at


_WALKS: dict[str, Callable[[IO[bytes], int], int]] = {
    "mov": _mp4, "matroska": _matroska, "amr": _amr, "aac": _adts,
    "mpegts": lambda file, size: size + size % 188,
    "avi": lambda file, size: max(size, 8 + int.from_bytes(read_at(file, 4, 4), "little")),
}  # fmt: skip
