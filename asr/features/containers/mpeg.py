"""mp3 (MPEG audio of layers I to III): frames are counted, as the header of the first one often has no count."""

from dataclasses import dataclass
from typing import IO

from asr.features.containers.extent import LITTLE, read_at
from asr.features.containers.view import Recording

RATES_HZ = (44100, 48000, 32000)
KBITS = {  # by (is MPEG-1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
DELAY = 529  # samples of the decoder's delay, which mpg123 leaves out at the start
JUNK = 1 << 16  # bytes before the first frame, as of a stream that was joined in its middle


@dataclass(frozen=True)
class Frame:
    size: int
    samples: int
    rate_hz: int
    header: bytes  # its 4 bytes

    @property
    def kind(self) -> tuple[int, ...]:
        """What all frames of a stream have in common: version, layer and rate."""
        return self.header[1] & 0x1E, self.header[2] & 0x0C

    @property
    def info_at(self) -> int:
        """Where a Xing header stands in a frame: behind the side information of layer III."""
        is_mono = self.header[3] >> 6 == 3
        return 4 + ((17 if is_mono else 32) if self.header[1] & 8 else (9 if is_mono else 17))


def frame(header: bytes) -> Frame | None:
    """A frame by its first 4 bytes; None if they begin none, or one of a free bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, speed, padding = header[2] >> 2 & 3, header[2] >> 4, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or not 0 < speed < 15:
        return None
    is_first = version == 3
    rate_hz = RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = KBITS[is_first, layer][speed - 1]
    samples = 384 if layer == 1 else 1152 if layer == 2 or is_first else 576
    size = (12000 * kbits // rate_hz + padding) * 4 if layer == 1 else samples * 125 * kbits // rate_hz + padding
    return Frame(size, samples, rate_hz, header[:4])


def skip_tags(file: IO[bytes], size: int, at: int) -> int:
    """Where the tags that begin at `at` end: ID3v2, APE, Lyrics3 and ID3v1 (its 128 bytes)."""
    while True:
        head = read_at(file, at, 32)
        if head[:3] == b"ID3" and len(head) >= 10:
            length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            at += 10 + length + (10 if head[5] & 0x10 else 0)
        elif head[:3] == b"TAG":
            at += 128
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            at += 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 0)
        elif head[:11] == b"LYRICSBEGIN":
            text = read_at(file, at, 1 << 16)
            ends = [n for n in (text.find(b"LYRICS200"), text.find(b"LYRICSEND")) if n >= 0]
            if not ends:
                return size
            at += min(ends) + 9
        elif head[:1] == b"\0":  # padding
            zeros = read_at(file, at, 1 << 16)
            at += len(zeros) - len(zeros.lstrip(b"\0"))
        elif head and at == _bare_tag(file, size):
            return size
        else:
            return min(at, size)


def _bare_tag(file: IO[bytes], size: int) -> int:
    """Where an APE tag without a header begins at the end of a file, by its last 32 bytes. ID3v1 may follow it."""
    end = size - 128 if read_at(file, max(0, size - 128), 3) == b"TAG" else size
    foot = read_at(file, max(0, end - 32), 32)
    return end - int.from_bytes(foot[12:16], "little") if foot[:8] == b"APETAGEX" else size


def first_frame(file: IO[bytes], size: int, at: int) -> int | None:
    """The offset of the first frame that another one of its kind follows, at most `JUNK` bytes behind `at`."""
    data = read_at(file, at, JUNK)
    found = data.find(b"\xff")
    while found >= 0:
        if (first := frame(data[found : found + 4])) is not None:
            after = at + found + first.size
            second = frame(read_at(file, after, 4))
            if (second and second.kind == first.kind) or after == size or skip_tags(file, size, after) == size:
                return at + found
        found = data.find(b"\xff", found + 1)
    return None


def is_mpeg(file: IO[bytes], size: int) -> bool:
    return (at := skip_tags(file, size, 0)) < size and first_frame(file, size, at) is not None


def read_mpeg(file: IO[bytes], size: int, start: int) -> tuple[Recording | None, int]:
    """The recording that begins at `start`, and where the next one begins: at a frame with a Xing header."""
    at = first_frame(file, size, skip_tags(file, size, start))
    if at is None:
        return None, size
    first = frame(read_at(file, at, 4))
    assert first
    begin, announced = at, _announced(read_at(file, at, first.size), first)
    count, cut, end = 0, "", at
    while at < size:
        data = read_at(file, at, 192)
        now = frame(data)
        if now is None or now.kind != first.kind:
            after = skip_tags(file, size, at)
            if after >= size:
                break
            if after > at:
                at = after
                continue
            if size - at < LITTLE and data[:1] != b"\xff":
                break
            if now is None or first_frame(file, size, at) != at:
                cut = "it ends within a frame" if size - at < 4 else f"it is damaged at byte {at}"
            break
        if count and _announced(data, now) is not None:
            break  # another recording
        if at + now.size > size:
            cut = "it ends within a frame"
            break
        count, at = count + 1, at + now.size
        end = at
    next_start = at if not cut and size - at >= LITTLE and skip_tags(file, size, at) < size else size
    is_alone = not start and next_start == size and (not begin or read_at(file, 0, 3) == b"ID3")  # for libsndfile
    return _recording(first, begin, end, count, announced, cut, is_alone), next_start


def _recording(
    first: Frame, begin: int, end: int, count: int, announced: int | None, cut: str, is_alone: bool
) -> Recording | None:
    if announced is not None:
        count -= 1  # the first frame holds the count
        if announced - 1 <= count <= announced + 1 or (cut and count < announced):  # some writers count that frame
            promised = announced * first.samples if cut else None
            return Recording("mp3", () if is_alone else ((begin, end - begin),), promised, False, cut)
        if count < announced - 1:
            cut = f"its header announces {announced} frames, it has {count}"
        begin += first.size
    if not count:
        return None
    return Recording("mp3", (counted(first, count), (begin, end - begin)), count * first.samples - DELAY, True, cut)


def _announced(data: bytes, frame: Frame) -> int | None:
    """The number of frames that a first frame announces; 0 if it is a header without it, None if it is none."""
    at = frame.info_at
    if data[at : at + 4] in (b"Xing", b"Info"):
        return int.from_bytes(data[at + 8 : at + 12], "big") if data[at + 7] & 1 else 0
    if data[36:40] == b"VBRI":
        return int.from_bytes(data[50:54], "big")
    return None


def counted(first: Frame, count: int) -> bytes:
    """A frame with a Xing header that announces `count` frames, to stand before them."""

    def header(speed: int) -> bytes:  # without check sum and padding
        return bytes([0xFF, first.header[1] | 1, speed << 4 | first.header[2] & 0x0C, first.header[3]])

    frames = (frame(header(speed)) for speed in range(1, 15))
    small = next(found for found in frames if found and found.size >= found.info_at + 12)
    info = b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return (small.header.ljust(small.info_at, b"\0") + info).ljust(small.size, b"\0")
