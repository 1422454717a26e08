"""Kinds of files, told by their first bytes and not by their names: how a file is compressed, and what is no text.

Only a search of folders for recordings goes by names.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from typing import IO, Any

SOUND = (  # names of recordings: what folders are searched for
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph",
    ".nist", ".w64", ".rf64", ".bwf", ".voc", ".wv1", ".wv2", ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".aac",
    ".ac3", ".amr", ".awb", ".webm", ".mka", ".mkv", ".avi", ".ts", ".wma", ".wv", ".ape", ".tta", ".spx",
)  # fmt: skip
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)  # raised while a compressed file is read

# First bytes of language models in other formats, and what to do with such a file.
_MODELS = {
    b"mmap lm http://kheafield.com/code": "a KenLM binary, which only kenlm reads; use the ARPA file it was made of",
    b"\xd6\xfd\xb2\x7e": "an OpenFst file; use the ARPA file it was made of, or write one with `ngramprint --ARPA`",
    b"asrngram": "a packed n-gram model (.ngram); use the ARPA file it was made of",
    b"asrtrie1": "a packed n-gram model (.trie), which only scores texts; use the ARPA file it was made of",
    b"SRILM_BINARY_NGRAM": "a binary model of SRILM; write it as ARPA with `ngram -lm FILE -write-lm NEW.arpa`",
    b"blmt ": "a binary model of IRSTLM; write it as ARPA with `compile-lm --text=yes`",
    b"Qblmt ": "a binary model of IRSTLM; write it as ARPA with `compile-lm --text=yes`",
    b"qARPA": "a quantized model of IRSTLM; write it as ARPA with `compile-lm --text=yes`",
    b"\x11\0\0\0Darpa Trigram LM": "a Sphinx DMP model; write it as ARPA with `sphinx_lm_convert`",
    b"\0\0\0\x11Darpa Trigram LM": "a Sphinx DMP model; write it as ARPA with `sphinx_lm_convert`",
    b"Trie Language Model": "a Sphinx binary model; write it as ARPA with `sphinx_lm_convert`",
}
_OTHERS = {
    b"asrcount": "counts of n-grams (.counts), which only `asr lm train` and `asr lm count` read; name the text",
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer, not the file itself; run `git lfs pull`",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!\x1a\x07": "a RAR archive; unpack it",
    b"\x04\x22\x4d\x18": "compressed with lz4; unpack it with `lz4 -d`",
    b"\x1f\x9d": "compressed with compress; unpack it with `gzip -d`",
    b"%PDF-": "a PDF document; extract its text with `pdftotext`",
    b"{\\rtf": "an RTF document; save it as plain text",
    b"\xd0\xcf\x11\xe0": "an Office document; save it as plain text",
    b"OggS\0": "a recording",
    b"fLaC\0": "a recording",
    b"\x93NUMPY": "a numpy array",
    b"\x89HDF": "an HDF5 file",
    b"\x7fELF": "a program",
}
_HTML = (b"<!doctype html", b"<html")
_COMPRESSED = {
    "gzip": rb"\x1f\x8b",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\0",
    "zstd": rb"\x28\xb5\x2f\xfd",
}


def unpacked(raw: io.BufferedReader) -> IO[bytes]:
    """The content of `raw`, decompressed if it is gzip, bzip2, xz or zstd. Reading it may raise UNREADABLE.

    Raises OSError for zstd if the package zstandard is not installed.
    """
    kind = _compression(raw.peek(10))
    if kind == "gzip":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if kind == "bzip2":
        return bz2.BZ2File(raw)
    if kind == "xz":
        return lzma.LZMAFile(raw)
    return io.BufferedReader(_ZstdFrames(raw)) if kind == "zstd" else raw


def foreign(head: bytes) -> str | None:
    """What a file is if its first bytes say that it is no text: `it is ...; do ...`. Otherwise None."""
    for magic, kind in {**_MODELS, **_OTHERS}.items():
        if head.startswith(magic):
            return f"it is {kind}"
    if head.lstrip()[:14].lower().startswith(_HTML):
        return "it is an HTML page; download the file itself"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and b"\0" in head:
        return "it is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "it is a recording"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it"
    packing = _compression(head)
    return f"it is compressed twice, the inner time with {packing}; unpack it once" if packing else None


def is_model(head: bytes) -> bool:
    """Whether these first bytes are those of a language model in a format other than ARPA."""
    return head.startswith(tuple(_MODELS))


def _compression(head: bytes) -> str | None:
    return next((kind for kind, magic in _COMPRESSED.items() if re.match(magic, head)), None)


class _ZstdFrames(io.RawIOBase):
    """The content of a zstd file, frame by frame."""

    def __init__(self, raw: IO[bytes]):
        try:
            import zstandard
        except ImportError:
            raise OSError("it is compressed with zstd; `pip install zstandard`, or unpack it with `zstd -d`") from None
        self._raw, self._zstandard = raw, zstandard
        self._frame: Any = None  # None between frames
        self._packed, self._left = b"", b""  # compressed bytes of the next frame; content that was not read yet

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            if not (data := self._packed or self._raw.read(1 << 12)):
                if self._frame is None:
                    return 0
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            self._frame = self._frame or self._zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            try:
                self._left, self._packed = self._frame.decompress(data), b""
            except self._zstandard.ZstdError as e:
                raise OSError(str(e)) from None
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
