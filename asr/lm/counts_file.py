"""Files of counted n-grams, `*.counts`: `asr lm count` writes them, `asr lm train` takes them in the place of texts.

    MAGIC                        8 bytes
    block                        size and CRC-32 of the content, uint32 little-endian, then the content
    ...
    block                        of size 0: the end

The first block is a JSON object, `Header`. Blocks of the words follow, one per line in code point order, and then
blocks of whole n-grams of the highest order, as csrc/lm/counted.h packs them; the ids of the words follow those of the
marks <unk>, <s> and </s>. All other numbers, such as that of the sentences, are sums over these n-grams. The file may
be compressed, as texts may.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from asr import _lm, filekinds
from asr.errors import InputError
from asr.files import atomic_write, packed
from asr.literals import parse_json
from asr.lm.model import MAX_ORDER
from asr.words import MARKS

MAGIC = b"asrcount"
_HEAD = struct.Struct("<II")
_MOST_BYTES = 64 << 20  # of a block
_WORDS = 10_000  # of a block
_AGAIN = "count the text again with `asr lm count`"


@dataclass(frozen=True)
class Header:
    order: int
    unit: str  # word or char, as `lm.unit`
    words: int  # different ones
    version: int = 1


def is_counts(path: str | Path) -> bool:
    """Whether a file is one by its first bytes. False for a pipe, which can be read only once."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as raw:
            return filekinds.unpacked(raw).read(len(MAGIC)) == MAGIC
    except filekinds.UNREADABLE:
        return False  # its reader will refuse it


def write(corpus: _lm.Corpus, order: int, unit: str, path: str | Path) -> None:
    """Writes the n-grams of a corpus, all words of which are selected. It consumes the corpus.

    The file is replaced atomically.
    """
    words = islice(corpus.words, len(MARKS), None)
    header = Header(order, unit, corpus.num_kept)
    with atomic_write(path, "wb") as file, packed(file, path) as out:

        def put(block: bytes) -> None:
            out.write(_HEAD.pack(len(block), zlib.crc32(block)) + block)

        out.write(MAGIC)
        put(json.dumps(asdict(header)).encode())
        while some := list(islice(words, _WORDS)):
            put("".join(f"{word}\n" for word in some).encode())
        _lm.write_ngrams(corpus, order, put, lambda _: None)
        put(b"")


def check(path: str | Path, order: int, unit: str) -> int:
    """The number of words of the file's n-grams. Raises InputError if it is below `order`, or for another unit."""
    with open(path, "rb") as raw:
        return _header(_blocks(filekinds.unpacked(raw), path), path, order, unit).order


def add(corpus: _lm.Corpus, path: str | Path, order: int, unit: str) -> None:
    """Adds the n-grams of a file to a corpus. Raises InputError as `check` does, and if it is damaged or cut short."""
    with open(path, "rb") as raw:
        blocks = _blocks(filekinds.unpacked(raw), path)
        header = _header(blocks, path, order, unit)
        try:
            corpus.begin_counts(header.order)
            left = header.words
            while left > 0 and (lines := next(blocks, b"")):
                left -= lines.count(b"\n")
                corpus.add_counted_words(lines)
            if left:
                raise ValueError("it has another number of words than its header says")
            before = corpus.num_words
            for block in blocks:
                corpus.add_counted_ngrams(block)
            if header.words and corpus.num_words == before:
                raise ValueError("its words are in none of its n-grams")
        except InputError:
            raise
        except ValueError as e:
            raise InputError(f"{path} is damaged: {e}; {_AGAIN}") from None


def _header(blocks: Iterator[bytes], path: str | Path, order: int, unit: str) -> Header:
    block = next(blocks, b"")
    try:
        header = Header(**parse_json(block.decode()))
        if {type(header.order), type(header.words), type(header.version)} != {int} or header.words < 0:
            raise TypeError
    except (ValueError, TypeError):
        raise InputError(f"{path} is damaged: its header cannot be read; {_AGAIN}") from None
    if header.version != 1 or not 1 <= header.order <= MAX_ORDER or header.unit not in ("word", "char"):
        raise InputError(f"{path} was written by another version of this toolkit; {_AGAIN}")
    if header.unit != unit:
        raise InputError(f"{path} has counts of lm.unit={header.unit}, not of {unit}; set lm.unit={header.unit}, or "
                         f"count the text again with `asr lm count unit={unit}`")  # fmt: skip
    if header.order < order:
        raise InputError(f"{path} has n-grams of {header.order} words, too short for lm.order={order}; lower it, or "
                         f"count the text again with `asr lm count order={order}`")  # fmt: skip
    return header


def _blocks(file: IO[bytes], path: str | Path) -> Iterator[bytes]:
    """The contents of the blocks up to the end. Raises InputError if one is damaged, if the end is missing, or if more
    follows it, such as another file that was appended."""

    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except filekinds.UNREADABLE as e:
            raise InputError(f"cannot read the counts {path}: {e}; {_AGAIN}") from e

    def take(size: int) -> bytes:
        if len(data := read(size)) < size:
            raise InputError(f"{path} is cut short; {_AGAIN}")
        return data

    if take(len(MAGIC)) != MAGIC:
        raise InputError(f"{path} is no file of counts (.counts); {_AGAIN}")
    while True:
        size, checksum = _HEAD.unpack(take(_HEAD.size))
        if size > _MOST_BYTES:
            raise InputError(f"{path} is damaged: a block is too large; {_AGAIN}")
        block = take(size)
        if not _is_intact(block, checksum):
            raise InputError(f"{path} is damaged: a checksum is wrong; {_AGAIN}")
        if not block:
            break
        yield block
    if read(1):
        raise InputError(f"{path} goes on after its end; name each file of counts, `cat` does not add them up")


def _is_intact(block: bytes, checksum: int) -> bool:
    return zlib.crc32(block) == checksum
