"""Ogg: chains of streams, several streams at a time, missing and damaged pages (RFC 3533)."""

import zlib
from dataclasses import dataclass, field
from typing import IO

from asr.errors import InputError
from asr.features.containers.extent import LITTLE, is_zero, read_at
from asr.features.containers.flac import read_stream
from asr.features.containers.view import Piece, Recording

SOUND = {b"\1vorbis": "vorbis", b"OpusHead": "opus", b"\x7fFLAC": "ogg flac", b"Speex   ": "speex"}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class _Stream:
    """The pages of one stream of a link of the chain."""

    codec: str
    pages: list[tuple[int, int, int]] = field(default_factory=list)  # offset, bytes of the header, bytes in all
    ends: list[int] = field(default_factory=list)  # samples up to the end of each page in which a packet ends
    next_page: int = 0
    has_end: bool = False
    problem: str = ""  # the first


def is_ogg(head: bytes) -> bool:
    return head[:4] == b"OggS"


def read_ogg(file: IO[bytes], size: int, start: int) -> tuple[Recording | None, int]:
    """The recording of one link of the chain, and where the next link begins.

    Raises InputError for a link with several recordings, and for codecs that libsndfile does not read.
    """
    streams: dict[int, _Stream] = {}
    at, is_starting, broken = start, True, None
    while at < size:
        head = read_at(file, at, 27)
        if len(head) < 27 or head[:4] != b"OggS":
            broken = _broken(file, at, size, head)
            break
        lacing = file.read(head[26])
        body = file.read(sum(lacing))
        is_first, header_bytes = bool(head[5] & 2), 27 + head[26]
        if len(lacing) < head[26] or len(body) < sum(lacing):
            broken = "it ends within a page"
            break
        if is_first and not is_starting:
            break  # the next link
        is_starting = is_first
        serial, number = int.from_bytes(head[14:18], "little"), int.from_bytes(head[18:22], "little")
        if is_first:
            codec = next((name for magic, name in SOUND.items() if body.startswith(magic)), "")
            streams[serial] = _Stream(codec, next_page=number)
        if stream := streams.get(serial):
            if number != stream.next_page:
                stream.problem = stream.problem or f"{abs(number - stream.next_page)} of its pages are missing"
            if crc(head[:22] + bytes(4) + head[26:] + lacing + body) != int.from_bytes(head[22:26], "little"):
                stream.problem = stream.problem or f"page {number} is damaged"
            stream.next_page = number + 1
            stream.has_end |= bool(head[5] & 4)
            if (position := int.from_bytes(head[6:14], "little", signed=True)) >= 0:
                stream.ends.append(position)
            stream.pages.append((at, header_bytes, header_bytes + len(body)))
        at += header_bytes + len(body)
    end = at if broken is None else size
    sounds = [stream for stream in streams.values() if stream.codec]
    if not sounds:
        return None, end
    if len(sounds) > 1:
        raise InputError(
            f"holds {len(sounds)} recordings at a time ({', '.join(s.codec for s in sounds)}); extract one"
        )
    sound = sounds[0]
    cut = sound.problem or broken or ("" if sound.has_end else "its last page is missing")
    if sound.has_end and broken and size - at < LITTLE:
        cut = sound.problem
    if sound.codec == "ogg flac":
        return _unwrapped(file, sound, cut), end
    is_alone = len(streams) == 1 and not start and end == size and broken is None
    pieces = () if is_alone else _joined(sound.pages)
    return Recording(sound.codec, pieces, None, False, cut, _tail(sound)), end


def _tail(stream: _Stream) -> int:
    """The samples of the last page of a Vorbis stream. Its position says where the recording ends within its last
    block; libsndfile, which counts back from there, takes a seek into the page that much too far."""
    return max(0, stream.ends[-1] - stream.ends[-2]) if stream.codec == "vorbis" and len(stream.ends) > 1 else 0


def _joined(pages: list[tuple[int, int, int]]) -> tuple[Piece, ...]:
    """The pages as pieces of the file; those that follow each other are one piece."""
    found: list[tuple[int, int]] = []
    for offset, _, length in pages:
        if found and sum(found[-1]) == offset:
            offset, length = found[-1][0], found.pop()[1] + length
        found.append((offset, length))
    return tuple(found)


def _broken(file: IO[bytes], at: int, size: int, head: bytes) -> str:
    if head.startswith((b"TAG", b"ID3", b"APETAGEX")) or is_zero(file, at, size):
        return ""
    return (
        "it ends within a page" if b"OggS".startswith(head[:4]) or size - at < LITTLE else f"it is damaged at byte {at}"
    )


def _unwrapped(file: IO[bytes], stream: _Stream, cut: str) -> Recording | None:
    """Ogg FLAC as the FLAC stream that its packets are, behind the 9 bytes of the mapping."""
    pieces = [(offset + header, length - header) for offset, header, length in stream.pages]
    first, length = pieces[0]
    pieces[0] = (first + 9, length - 9)
    found = read_stream(file, tuple(pieces), "ogg flac")
    return found and Recording(found.kind, found.pieces, found.frames, True, cut or found.cut)


def crc(page: bytes) -> int:
    """The check sum of a page: the CRC-32 of zlib with all bits in the opposite order, from 0 and not inverted."""
    reversed_crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(_REVERSED), "big")
