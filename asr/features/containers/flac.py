"""FLAC, alone and in Ogg: joined files, streams without a length, and the count of samples in the last frame."""

from dataclasses import dataclass
from typing import IO

from asr.features.containers.extent import find
from asr.features.containers.view import Piece, Recording, View

MAGIC, STREAM_INFO = b"fLaC", b"fLaC\0\0\0\x22"
TAIL = 1 << 18  # bytes in which the last frame is sought if the largest frame is not known
BLOCK_SIZES = {1: 192, **{n: 576 << (n - 2) for n in range(2, 6)}, **{n: 256 << (n - 8) for n in range(8, 16)}}


@dataclass(frozen=True)
class _Frame:
    first: int  # number of its first sample
    length: int


def is_flac(head: bytes) -> bool:
    return head[:4] == MAGIC


def read_flac(file: IO[bytes], size: int, start: int) -> tuple[Recording | None, int]:
    end = find(file, start + 8, size, STREAM_INFO, lambda head: head.startswith((STREAM_INFO, b"fLaC\x80\0\0\x22")))
    end = size if end is None else end
    whole = not start and end == size
    return read_stream(file, ((start, end - start),), "flac", whole), end


def read_stream(file: IO[bytes], pieces: tuple[Piece, ...], kind: str, as_it_is: bool = False) -> Recording | None:
    """A FLAC stream that consists of pieces of a file. None: it has no frame."""
    stream = View(file, pieces)
    length = stream.seek(0, 2)
    head = stream.read_at(0, 42)
    if len(head) < 42 or head[4] & 0x7F:
        return None
    word = int.from_bytes(head[18:26], "big")
    announced = word & (1 << 36) - 1
    last, is_whole = _last_frame(stream, length, head)
    frames = last.first + last.length if last else 0
    if not announced:
        if not last:
            return None
        cut = "" if is_whole else "it ends within a frame"
    else:
        cut, frames = "", max(announced, frames if is_whole else 0)
    if as_it_is and frames == announced:
        return Recording(kind, (), frames)
    stream_info = head[:18] + (word >> 36 << 36 | frames).to_bytes(8, "big") + bytes(16)  # no digest: libFLAC checks it
    return Recording(kind, (stream_info, *_rest(pieces, 42)), frames, True, cut)


def _rest(pieces: tuple[Piece, ...], skipped: int) -> tuple[Piece, ...]:
    """The pieces without their first `skipped` bytes."""
    found: list[Piece] = []
    for piece in pieces:
        length = len(piece) if isinstance(piece, bytes) else piece[1]
        gone = min(skipped, length)
        skipped -= gone
        if gone < length:
            found.append(piece[gone:] if isinstance(piece, bytes) else (piece[0] + gone, length - gone))
    return tuple(found)


def _last_frame(stream: View, size: int, head: bytes) -> tuple[_Frame | None, bool]:
    """The last frame that begins in the stream, and whether it ends with its check sum."""
    largest = int.from_bytes(head[15:18], "big") or TAIL // 2
    tail = stream.read_at(max(42, size - 2 * largest - 4096), 2 * largest + 4096)
    tail = _without_tags(tail)
    at = len(tail)
    last: _Frame | None = None
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        frame = _frame(tail[at : at + 16], head)
        if frame and crc16(tail[at:]) == 0:
            return frame, True
        last = last or frame
    return last, False


def _without_tags(tail: bytes) -> bytes:
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    if tail[-32:-24] == b"APETAGEX":
        tail = tail[: -(32 + int.from_bytes(tail[-20:-16], "little"))] or tail
    return tail


def _frame(data: bytes, head: bytes) -> _Frame | None:
    """The header of a frame; None if `data` is not one (RFC 9639, section 9.1)."""
    if len(data) < 6 or data[1] & 0xFE != 0xF8 or data[2] >> 4 == 0 or data[3] & 1 or data[3] >> 4 > 10:
        return None
    extra = 0  # bytes of the number, coded as in UTF-8, behind its first one
    while extra < 7 and data[4] << extra & 0x80:
        extra += 1
    if extra == 1 or extra > 7:
        return None
    extra = max(0, extra - 1)
    number = data[4] & (0x7F if not extra else (1 << (6 - extra)) - 1 if extra < 6 else 0)
    for byte in data[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    at, size_code, rate_code = 5 + extra, data[2] >> 4, data[2] & 15
    if size_code in (6, 7):
        length = int.from_bytes(data[at : at + size_code - 5], "big") + 1
        at += size_code - 5
    else:
        length = BLOCK_SIZES[size_code]
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(data) or crc8(data[:at]) != data[at]:
        return None
    is_fixed = not data[1] & 1
    return _Frame(number * int.from_bytes(head[10:12], "big") if is_fixed else number, length)


def _table(polynomial: int, bits: int) -> list[int]:
    def entry(value: int) -> int:
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) & 1 else 0)
        return value & (1 << bits) - 1

    return [entry(byte) for byte in range(256)]


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def crc16(data: bytes) -> int:
    """Check sum of a frame; 0 over a frame with its check sum."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFF00) ^ _CRC16[value >> 8 ^ byte]
    return value
