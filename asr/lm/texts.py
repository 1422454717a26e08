"""Lines of text files, however packed and however long, and the sentences in them."""

import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from tqdm import tqdm

from asr import manifest
from asr.errors import InputError
from asr.lm.model import MARKS

LINE_LIMIT = 1 << 20  # bytes; a longer line is no sentence, and memory stays bounded
_BLOCK = 1 << 16  # lines
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Lines:
    """The lines of a file as bytes, line ends included, taken in blocks. `number` counts the lines taken so far.

    Files packed with gzip or xz are known by their first bytes; "-" is the standard input. Reading that takes longer
    than two seconds shows a bar. Everything raises InputError naming the file, and the line where there is one.
    """

    def __init__(self, path: str | Path):
        self.name = "standard input" if str(path) == "-" else str(path)
        self.number = 0
        try:
            self._raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else open(path, "rb")  # noqa: SIM115
            self._file = _unpacked(self._raw)
        except _UNREADABLE as e:
            raise InputError(f"cannot read {self.name}: {e}") from e
        size = None if str(path) == "-" else os.path.getsize(path)
        self._bar = tqdm(total=size, unit="B", unit_scale=True, desc=f"read {self.name}", delay=2.0, leave=False)

    def take(self, count: int) -> list[bytes]:
        """The next `count` lines, fewer at the end of the file."""
        try:
            lines = list(islice(iter(partial(self._file.readline, LINE_LIMIT), b""), count))
        except _UNREADABLE as e:
            raise InputError(f"{self.name}: cannot be read on behind line {self.number}: {e}") from e
        if max(map(len, lines), default=0) == LINE_LIMIT:
            longest = next(i for i, line in enumerate(lines) if len(line) == LINE_LIMIT)
            raise InputError(
                f"{self.name}:{self.number + longest + 1}: the line is longer than {LINE_LIMIT} bytes; "
                "put each sentence on a line of its own"
            )
        self.number += len(lines)
        if self._raw.seekable():
            self._bar.update(self._raw.tell() - self._bar.n)
        return lines

    def blocks(self) -> Iterator[list[bytes]]:
        while block := self.take(_BLOCK):
            yield block

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._raw is not sys.stdin.buffer:
            self._raw.close()


def sentences(paths: Iterable[str | Path]) -> Iterator[str]:
    """The sentences of text files (a line each; empty lines are none) and of manifests (*.jsonl; the field `text`).

    Raises InputError naming the line (or the utterance) that is not UTF-8 or holds `<s>`, `</s>` or `<unk>`.
    """
    for path in paths:
        if str(path).endswith(".jsonl"):
            for utterance in manifest.stream(path):
                yield check_words(utterance.text, f"{path}: utterance '{utterance.id}'")
        else:
            with Lines(path) as lines:
                for block in lines.blocks():
                    yield from _decode(block, lines.name, lines.number - len(block) + 1)


def check_words(sentence: str, where: str) -> str:
    """The sentence itself. Raises InputError, beginning with `where`, if it holds one of the model's own marks."""
    if "<" in sentence and (found := next((word for word in sentence.split() if word in MARKS), None)):
        raise InputError(f"{where}: the text holds '{found}', which the model adds itself; remove or rename it")
    if "\0" in sentence:
        raise InputError(f"{where}: the text holds a NUL character; remove it")
    return sentence


def _decode(block: list[bytes], name: str, first_number: int) -> Iterator[str]:
    for number, line in enumerate(block, first_number):
        try:
            sentence = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as e:
            raise InputError(f"{name}:{number}: not UTF-8 ({e}); convert the file, for instance with iconv") from e
        if not sentence.isspace():
            yield check_words(sentence, f"{name}:{number}")


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    assert isinstance(raw, io.BufferedReader)
    head = raw.peek(6)[:6]
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    return lzma.LZMAFile(raw) if head == b"\xfd7zXZ\0" else raw
