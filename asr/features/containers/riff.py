"""wav in its forms: RIFF, RIFX, RF64, BW64 and Sony's W64."""

from dataclasses import dataclass, field
from functools import partial
from typing import IO, Literal

from asr.errors import InputError
from asr.features.containers.extent import Extent, measure, read_at, skip_chunks
from asr.features.containers.view import MORE_BYTES, Piece, Recording

EXTENSIBLE, COMPANDED = 0xFFFE, (6, 7)  # A-law and mu-law
BY_BLOCKS = (1, 3, *COMPANDED, EXTENSIBLE)  # 1: PCM, 3: float; a block is a frame
GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind the four letters of most chunks of a W64
W64_FILE, W64_WAVE = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000"), b"wave" + GUID
MAX_SIZE = 0xFFFFFFFF


@dataclass
class _Chunks:
    """The chunks of a recording up to its samples."""

    format: bytes = b""
    data: tuple[int, int | None] | None = None  # where the samples begin, and the declared bytes
    other: dict[bytes, bytes] = field(default_factory=dict)


def is_riff(head: bytes) -> bool:
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def is_w64(head: bytes) -> bool:
    return head[:16] == W64_FILE


def read_riff(file: IO[bytes], size: int, start: int) -> tuple[Recording | None, int]:
    """The recording that begins at `start`, and where the next one may begin. None: its header holds no samples."""
    kind = read_at(file, start, 4)
    order: Literal["big", "little"] = "big" if kind == b"RIFX" else "little"
    chunks, at, declared_64 = _Chunks(), start + 12, None
    while at + 8 <= size and chunks.data is None:
        head = read_at(file, at, 8)
        name, length = head[:4], int.from_bytes(head[4:], order)
        if name == b"data":
            chunks.data = at + 8, length
        elif name == b"ds64":
            declared_64 = int.from_bytes(read_at(file, at + 16, 8), "little")
        elif name == b"fmt ":
            chunks.format = read_at(file, at + 8, min(length, 1 << 16))
        at += 8 + length + length % 2
    if chunks.data is None or len(chunks.format) < 16:
        return None, size
    first, declared = chunks.data
    if kind in (b"RF64", b"BW64") and declared == MAX_SIZE:
        declared = declared_64 or None
    skip = partial(skip_chunks, file, size, order=order)
    extent = measure(file, size, first, declared, kind, is_riff, lambda at: skip(at=at))
    more = _more_samples(file, size, extent, order)
    as_it_is = not start and not more and kind != b"BW64" and extent.length == declared
    return _recording("wav", chunks.format, order, [extent, *more], as_it_is), extent.end


def _more_samples(file: IO[bytes], size: int, extent: Extent, order: Literal["big", "little"]) -> list[Extent]:
    """Further data chunks behind the first one."""
    found, at = [], extent.start + extent.length + extent.length % 2
    while at + 8 <= extent.end:
        head = read_at(file, at, 8)
        length = int.from_bytes(head[4:], order)
        if head[:4] == b"data":
            there = min(length, size - at - 8)
            found.append(Extent(at + 8, there, length, at + 8 + there))
        at += 8 + length + length % 2
    return found


def read_w64(file: IO[bytes], size: int, start: int) -> tuple[Recording | None, int]:
    """As `read_riff`. Sizes have 8 bytes and count the 24 of their own header; chunks begin at multiples of 8."""
    at, format = start + 40, b""
    while at + 24 <= size:
        head = read_at(file, at, 24)
        length = int.from_bytes(head[16:], "little")
        if head[:16] == b"data" + GUID:
            break
        if head[:16] == b"fmt " + GUID:
            format = read_at(file, at + 24, min(length - 24, 1 << 16))
        at += max(24, length + -length % 8)
    else:
        return None, size
    if len(format) < 16:
        return None, size
    extent = measure(file, size, at + 24, max(0, length - 24), W64_FILE, is_w64, partial(_skip_w64, file, size))
    return _recording("w64", format, "little", [extent], not start and extent.length == length - 24), extent.end


def _skip_w64(file: IO[bytes], size: int, at: int) -> int:
    first, at = at, at + -at % 8
    while at + 24 <= size:
        head = read_at(file, at, 24)
        length = int.from_bytes(head[16:], "little")
        if is_w64(head):
            return at
        if head[4:16] != GUID or length < 24 or at + length > size:
            return first
        at += length + -length % 8
    return min(at, size)


def _recording(
    name: str, format: bytes, order: Literal["big", "little"], extents: list[Extent], as_it_is: bool
) -> Recording:
    block = _frame_bytes(format, order)
    cut = "" if block or not any(e.is_cut for e in extents) else MORE_BYTES
    frames = sum(e.promised for e in extents) // block if block else None
    pieces = () if as_it_is else wave(format, order, [(e.start, e.length) for e in extents])
    return Recording(name, pieces, frames, bool(block), cut)


def _frame_bytes(format: bytes, order: Literal["big", "little"]) -> int:
    """The bytes of a frame by an fmt chunk; 0 if samples are compressed or it does not say."""
    code, channels, block, bits = (int.from_bytes(format[at : at + 2], order) for at in (0, 2, 12, 14))
    if code == EXTENSIBLE and len(format) >= 26:
        code = int.from_bytes(format[24:26], order)
    if code not in BY_BLOCKS or not block:
        return 0
    check_frame(block, channels, 8 if code in COMPANDED else bits)
    return block


def check_frame(frame_bytes: int, channels: int, bits: int) -> None:
    """Raises InputError if a frame has other bytes than its samples need: libsndfile goes by the samples, and reads
    those of 24 bits in 4 bytes as noise."""
    if channels * -(-bits // 8) not in (0, frame_bytes):
        raise InputError(
            f"has a header that contradicts itself: {channels} channels of {bits} bits in frames of {frame_bytes} "
            "bytes; convert it: ffmpeg -i IN OUT.flac"
        )


def wave(format: bytes, order: Literal["big", "little"], samples: list[tuple[int, int]]) -> tuple[Piece, ...]:
    """A wav file of `samples`, pieces of a file, in the format of an fmt chunk."""
    size = sum(length for _, length in samples)
    chunk = b"fmt " + len(format).to_bytes(4, order) + format + bytes(len(format) % 2)
    if size < MAX_SIZE - len(chunk) - 36:
        riff = (b"RIFF" if order == "little" else b"RIFX") + (4 + len(chunk) + 8 + size + size % 2).to_bytes(4, order)
        return (riff + b"WAVE" + chunk + b"data" + size.to_bytes(4, order), *samples, bytes(size % 2))
    sizes = [4 + 36 + len(chunk) + 8 + size, size, 0]
    ds64 = b"ds64" + (28).to_bytes(4, "little") + b"".join(n.to_bytes(8, "little") for n in sizes) + bytes(4)
    unknown = MAX_SIZE.to_bytes(4, "little")
    return (b"RF64" + unknown + b"WAVE" + ds64 + chunk + b"data" + unknown, *samples)
