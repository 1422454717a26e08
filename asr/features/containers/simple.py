"""Other containers of uncompressed samples: AIFF, AU, CAF, VOC, NIST SPHERE."""

import re
import struct
from functools import partial
from typing import IO

from asr.errors import InputError
from asr.features.containers.extent import LITTLE, TAGS, Extent, is_streamed, measure, read_at, skip_chunks
from asr.features.containers.riff import check_frame, wave
from asr.features.containers.view import MORE_BYTES, Piece, Recording, patched
from asr.literals import parse_digits

# Bytes per sample of AIFF-C types; None: by the number of bits. Other types are compressed.
AIFC_BYTES = {
    b"NONE": None, b"twos": None, b"sowt": None, b"raw ": 1, b"in24": 3, b"in32": 4, b"42ni": 3, b"23ni": 4,
    b"fl32": 4, b"FL32": 4, b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1,
}  # fmt: skip
AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # by encoding; others are compressed
VOC_MAGIC, SPHERE_MAGIC = b"Creative Voice File\x1a", b"NIST_1A\n"
VOC_FORMATS = {0: 1, 4: 1, 6: 6, 7: 7}  # codec -> format of a wav

Found = tuple[Recording | None, int]  # as riff.read_riff


def is_aiff(head: bytes) -> bool:
    return head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")


def is_au(head: bytes) -> bool:
    """Checked beyond its four letters, which samples may have as well."""
    if head[:4] not in (b".snd", b"dns.") or len(head) < 24:
        return False
    offset, _, encoding, rate, channels = struct.unpack((">" if head[:1] == b"." else "<") + "5I", head[4:24])
    return 24 <= offset < 1 << 20 and 0 < encoding < 30 and 0 < rate <= 768000 and 0 < channels <= 256


def is_caf(head: bytes) -> bool:
    return head[:6] == b"caff\0\1"


def is_voc(head: bytes) -> bool:
    return head.startswith(VOC_MAGIC)


def is_sphere(head: bytes) -> bool:
    return head.startswith(SPHERE_MAGIC)


def _found(kind: str, pieces: tuple[Piece, ...], extent: Extent, frame_bytes: int) -> Found:
    """`frame_bytes` is 0 for compressed samples, which libsndfile counts."""
    if frame_bytes:
        return Recording(kind, pieces, extent.promised // frame_bytes), extent.end
    return Recording(kind, pieces, None, False, MORE_BYTES if extent.is_cut else ""), extent.end


def read_aiff(file: IO[bytes], size: int, start: int) -> Found:
    at, comm, ssnd = start + 12, 0, 0
    while at + 8 <= size and not (comm and ssnd):
        head = read_at(file, at, 8)
        length = int.from_bytes(head[4:], "big")
        comm, ssnd = at if head[:4] == b"COMM" else comm, at if head[:4] == b"SSND" else ssnd
        at += 8 + length + length % 2
    if not comm or not ssnd:
        return None, size
    channels, frames, bits = struct.unpack(">HIH", read_at(file, comm + 8, 8))
    kind = read_at(file, comm + 26, 4) if read_at(file, start + 8, 4) == b"AIFC" else b"NONE"
    frame_bytes = channels * (AIFC_BYTES[kind] or -(-bits // 8)) if kind in AIFC_BYTES else 0
    length, offset = struct.unpack(">II", read_at(file, ssnd + 4, 8))
    first = ssnd + 16 + offset
    declared = max(0, length - 8 - offset)
    counted = 0 if is_streamed(frames) else frames * frame_bytes
    if not is_streamed(length):
        declared = max(declared, counted)  # lengths in both chunks: the larger one is promised
    extent = measure(file, size, first, declared, b"FORM", is_aiff, lambda at: skip_chunks(file, size, at, "big"))
    if not frame_bytes:
        return _found("aiff", patched(extent.end, {}, start) if start else (), extent, 0)
    there, end = extent.length // frame_bytes, extent.start + extent.length
    as_it_is = not start and there == frames and length - 8 - offset == extent.length
    changes = {
        start + 4: (end - start - 8).to_bytes(4, "big"),
        comm + 10: there.to_bytes(4, "big"),
        ssnd + 4: (extent.length + 8 + offset).to_bytes(4, "big"),
    }
    pieces = () if as_it_is else patched(max(end, comm + 26), changes, start)
    return _found("aiff", pieces, extent, frame_bytes)


def read_au(file: IO[bytes], size: int, start: int) -> Found:
    head = read_at(file, start, 24)
    order = ">" if head[:1] == b"." else "<"
    offset, declared, encoding, _, channels = struct.unpack(order + "5I", head[4:])
    extent = measure(file, size, start + offset, declared, head[:4], is_au)
    frame_bytes = AU_BYTES.get(encoding, 0) * channels
    as_it_is = not start and extent.length == declared == size - offset
    changes = {start + 8: struct.pack(order + "I", min(extent.length, 0xFFFFFFFF))}
    pieces = () if as_it_is else patched(extent.start + extent.length, changes, start)
    return _found("au", pieces, extent, frame_bytes)


def read_caf(file: IO[bytes], size: int, start: int) -> Found:
    at, packet = start + 8, 0
    while at + 12 <= size:
        head = read_at(file, at, 12)
        length = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data":
            break
        if head[:4] == b"desc":
            kind, _, packet, _, channels, bits = struct.unpack(">4s5I", read_at(file, at + 20, 24))
            if kind == b"lpcm" and packet:
                check_frame(packet, channels, bits)
            packet = packet if kind in (b"lpcm", b"ulaw", b"alaw") else 0
        at += 12 + max(0, length)
    else:
        return None, size
    skip = partial(skip_chunks, file, size, order="big", size_bytes=8)
    declared = None if length < 0 else max(0, length - 4)  # 4 bytes count the edits
    extent = measure(file, size, at + 16, declared, b"caff\0\1", is_caf, lambda at: skip(at=at))
    as_it_is = not start and extent.length == declared
    changes = {at + 4: (extent.length + 4).to_bytes(8, "big")}
    end = extent.start + extent.length
    pieces = () if as_it_is else patched(extent.end if not extent.is_cut else end, changes, start)
    return _found("caf", pieces, extent, packet)


def read_voc(file: IO[bytes], size: int, start: int) -> Found:
    """Raises InputError for a file of several blocks of sound, which libsndfile does not read."""
    at = start + int.from_bytes(read_at(file, start + 20, 2), "little")
    sounds, end = [], size
    while at < size:
        head = read_at(file, at, 4)
        length = int.from_bytes(head[1:], "little")
        if not head[0]:  # the end
            end = at + 1
            break
        if head[0] in (1, 2, 3, 6, 9):  # sound, more of it, silence, repetition, sound of the newer form
            sounds.append((head[0], at + 4, length))
        if head[0] in (1, 9) and length < 13:  # of a writer that was killed
            break
        at += 4 + length
    if not sounds:
        return None, size
    if len(sounds) > 1:
        raise InputError(f"is a VOC file of {len(sounds)} blocks; convert it: sox IN.voc OUT.wav")
    kind, first, length = sounds[0]
    rate, bits, channels, codec = struct.unpack("<IBBH", read_at(file, first, 8)) if kind == 9 else (0, 8, 1, 0)
    if kind != 9 or codec not in VOC_FORMATS:
        cut = MORE_BYTES if first + length > size else ""
        pieces = patched(min(end, size), {}, start) if start or end < size else ()
        return Recording("voc", pieces, None, False, cut), end if is_voc(read_at(file, end, 32)) else size

    def skip_end(at: int) -> int:
        after = at + (read_at(file, at, 1) == b"\0")
        follows = read_at(file, after, 32)
        return after if size - after < LITTLE or is_voc(follows) or follows.startswith(TAGS) else at

    extent = measure(file, size, first + 12, max(0, length - 12), VOC_MAGIC, is_voc, skip_end)
    frame_bytes = channels * bits // 8
    format = struct.pack("<HHIIHH", VOC_FORMATS[codec], channels, rate, rate * frame_bytes, frame_bytes, bits)
    as_it_is = not start and extent.length == length - 12
    pieces = () if as_it_is else wave(format, "little", [(extent.start, extent.length)])
    return Recording("voc", pieces, extent.promised // max(1, frame_bytes)), extent.end


def read_sphere(file: IO[bytes], size: int, start: int) -> Found:
    """Raises InputError for compressed samples, which libsndfile does not read."""
    length = read_at(file, start + 8, 8).strip()
    header_bytes = parse_digits(length) or 1024
    header = read_at(file, start, header_bytes)
    text = header.split(b"end_head")[0]
    fields = {name: value for name, value in re.findall(rb"^(\w+) -\w+ (.*?)\s*$", text, re.MULTILINE)}
    coding = fields.get(b"sample_coding", b"pcm").decode("latin-1")
    if "," in coding:
        raise InputError(f"is a SPHERE file compressed as '{coding}'; convert it: sph2pipe -f wav IN.sph OUT.wav")

    def number(name: bytes, default: int) -> int:
        found = parse_digits(fields.get(name, b""))
        return default if found is None else found

    sample_bytes = number(b"sample_n_bytes", 2)
    if sample_bytes > 1 and b"sample_byte_format" not in fields:
        raise InputError(
            "is a SPHERE file without sample_byte_format, so the order of its bytes is unknown; "
            f"convert it: tail -c +{header_bytes + 1} IN.sph | sox -t raw -r 16000 -e signed -b 16 -c 1 -L - OUT.wav "
            "(-L, or -B if that is noise)"
        )
    frame_bytes = number(b"channel_count", 1) * sample_bytes
    frames = number(b"sample_count", 0)
    extent = measure(file, size, start + header_bytes, frames * frame_bytes, SPHERE_MAGIC, is_sphere)
    there = extent.length // max(1, frame_bytes)
    lines = [line for line in text.split(b"\n") if line and not line.startswith(b"sample_count ")]
    written = b"\n".join([*lines, b"sample_count -i %d" % there, b"end_head", b""]).ljust(header_bytes)
    pieces = () if not start and there == frames else (written, (extent.start, extent.length))
    return Recording("sphere", pieces, extent.promised // max(1, frame_bytes)), extent.end
