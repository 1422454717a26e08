"""Lines of text files, however packed and however long, and the sentences in them."""

import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from asr import manifest
from asr.errors import InputError
from asr.lm.model import MARKS

LINE_LIMIT = 1 << 20  # bytes; a longer line is no sentence, and memory stays bounded
_CHUNK = LINE_LIMIT // 2  # bytes read at a time
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Lines:
    """The lines of a file as bytes, taken in blocks. `number` counts the lines taken so far.

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

    def chunk(self) -> bytes:
        """The next lines, whole ones, about half a MiB together; empty at the end of the file."""
        try:
            head = self._file.read(_CHUNK)
            rest = b"" if head.endswith(b"\n") else self._file.readline(LINE_LIMIT)
        except _UNREADABLE as e:
            raise InputError(f"{self.name}: cannot be read on behind line {self.number}: {e}") from e
        chunk = head + rest
        if len(rest) >= LINE_LIMIT - _CHUNK:  # otherwise none can be too long
            longest = next((i for i, line in enumerate(chunk.split(b"\n")) if len(line) >= LINE_LIMIT), None)
            if longest is not None:
                raise InputError(
                    f"{self.name}:{self.number + longest + 1}: the line is longer than {LINE_LIMIT} bytes; "
                    "put each sentence on a line of its own"
                )
        self.number += chunk.count(b"\n") + (not chunk.endswith(b"\n") and bool(chunk))
        if self._raw.seekable():
            self._bar.update(self._raw.tell() - self._bar.n)
        return chunk

    def blocks(self) -> Iterator[list[bytes]]:
        """Lists of lines without their line ends."""
        while chunk := self.chunk():
            yield chunk.removesuffix(b"\n").split(b"\n")

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
                    first = lines.number - len(block) + 1
                    checked = (check_line(line, lines.name, number) for number, line in enumerate(block, first))
                    yield from (sentence for sentence in checked if sentence and not sentence.isspace())


def check_words(sentence: str, where: str) -> str:
    """The sentence itself. Raises InputError, beginning with `where`, if it holds one of the model's own marks."""
    if "<" in sentence and (found := next((word for word in sentence.split() if word in MARKS), None)):
        raise InputError(f"{where}: the text holds '{found}', which the model adds itself; remove or rename it")
    if "\0" in sentence:
        raise InputError(f"{where}: the text holds a NUL character; remove it")
    return sentence


def check_line(line: bytes, name: str, number: int) -> str:
    """The sentence of a line. Raises InputError if it is not UTF-8, and as `check_words` does."""
    try:
        sentence = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"{name}:{number}: not UTF-8 ({e}); convert the file, for instance with iconv") from e
    return check_words(sentence, f"{name}:{number}")


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    assert isinstance(raw, io.BufferedReader)
    head = raw.peek(6)[:6]
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    return lzma.LZMAFile(raw) if head == b"\xfd7zXZ\0" else raw
