"""Counting n-grams in parts: each part of the texts by itself, in any process, to a counts file; then all are added.

The sums are the same numbers for any division, so a model estimated from them has the same bytes.
"""

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr import filekinds, fingerprints, manifest
from asr._lm import Corpus
from asr.config import LmConfig
from asr.errors import InputError
from asr.files import keep_inputs
from asr.lm import counts_file
from asr.lm.corpus import Selection, add_text, encode_files, new_corpus
from asr.lm.model import MAX_ORDER
from asr.locks import NAME, locked
from asr.streams import is_stream
from asr.textfiles import LINE_LIMIT, WHOLE, Span

PART = 16 << 20  # bytes of text, if these make no more than
MOST_PARTS = 64  # which csrc/lm merges at once
PACKED = 4  # bytes of text per byte of a compressed file, about

Pool = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # asr.data.pool.Pool


@dataclass(frozen=True)
class Workers:
    """Other processes, and the memory that each of them may take."""

    pool: Pool
    memory_mb: int


@dataclass(frozen=True)
class Source:
    """A text, and its size without compression. A `whole` one can only be read from its beginning."""

    path: str
    size: int
    is_whole: bool

    @classmethod
    def of(cls, path: str) -> "Source":
        try:
            size = os.path.getsize(path)
            with open(path, "rb") as raw:
                is_packed = filekinds.unpacked(raw) is not raw
        except filekinds.UNREADABLE:  # its reader will say why
            return cls(path, 0, True)
        return cls(path, size * (PACKED if is_packed else 1), is_packed or manifest.is_manifest(path))


@dataclass(frozen=True)
class Stretch:
    """Some lines of a text file, or all of it."""

    path: str
    span: Span = WHOLE

    def numbered(self) -> "Stretch":
        """With the number of lines before it, for which the file is read."""
        if not self.span.begin:
            return self
        lines, left = 0, self.span.begin
        with open(self.path, "rb") as file:
            while block := file.read(min(left, 1 << 20)):
                left -= len(block)
                lines += block.count(b"\n")
        return replace(self, span=self.span._replace(lines_before=lines))


@dataclass(frozen=True)
class Part:
    """Consecutive stretches of texts, of about `size` bytes in all. `name` differs when a text is written anew."""

    name: str
    stretches: tuple[Stretch, ...]
    size: int


@dataclass(frozen=True)
class Report:
    """The report of `count_files`."""

    output: str
    order: int
    sentences: int
    words: int
    seen: int  # different words
    duration_s: float

    def __str__(self) -> str:
        return (
            f"{self.sentences:,} sentences, {self.words:,} words, {self.seen:,} different ones\n"
            f"-> {self.output}: n-grams of {self.order} words ({self.duration_s:.1f} s)"
        )


def count_files(cfg: LmConfig, output: str, workers: Workers | None = None) -> Report:
    """Counts the n-grams of the files `cfg.text`, which may be counts already, and writes `output`.

    Raises InputError as `asr.lm.training.train_file` does.
    """
    if not cfg.text:
        raise InputError("asr lm count needs texts: asr lm count a.txt b.txt.gz output=ab.counts")
    begin_s = time.monotonic()
    keep_inputs([output], cfg.text)
    for path in filter(counts_file.is_counts, cfg.text):
        if (longer := counts_file.check(path, cfg.order, cfg.unit)) > cfg.order:
            print(f"{path} has n-grams of {longer} words, and {output} will have those of {cfg.order} only; "
                  f"lm.order={longer} keeps them", file=sys.stderr)  # fmt: skip
    folder = Path(output).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with counted(cfg, output, workers) as paths:
            corpus = encode_files(paths, Selection(), cfg.memory_mb, folder, cfg.unit, cfg.order)
            counts_file.write(corpus, cfg.order, cfg.unit, output)
    except OSError as e:
        raise InputError(f"cannot write the counts {output}: {e}") from e
    seconds = time.monotonic() - begin_s
    return Report(output, cfg.order, corpus.num_sentences, corpus.num_words, corpus.num_seen, seconds)


@contextmanager
def counted(cfg: LmConfig, output: str, workers: Workers | None) -> Iterator[list[str]]:
    """What to read in the place of `cfg.text`: counts that workers have made of its parts, and the rest as it is.

    Texts of less than `PART` bytes, those for a pipe, and all without workers, stay as they are. The counts are in
    `folder_of(output)` until the context ends without an error; the same call continues with those that are there.
    """
    if not 1 <= cfg.order <= MAX_ORDER:
        raise InputError(f"lm.order is {cfg.order}; it must be from 1 to {MAX_ORDER}")
    for text in filter(counts_file.is_counts, cfg.text):
        counts_file.check(text, cfg.order, cfg.unit)  # before the work, not behind it
    parts, rest = divided(cfg.text, cfg.order, cfg.unit) if workers and not is_stream(output) else ([], [])
    if not workers or not parts:
        yield cfg.text
        return
    folder = folder_of(output)
    with locked(folder):
        todo = [part for part in parts if not (folder / part.name).exists()]
        count = partial(count_part, order=cfg.order, unit=cfg.unit, memory_mb=workers.memory_mb, folder=str(folder))
        with _bar(parts) as bar:
            bar.update(bar.total - sum(part.size for part in todo))
            for part, fault in zip(todo, workers.pool(count, todo), strict=True):
                if fault is not None:
                    raise InputError(f"{part.stretches[0].path}: {fault}")
                bar.update(part.size)
        if divided(cfg.text, cfg.order, cfg.unit)[0] != parts:
            raise InputError("a text has changed while it was counted; the same command counts again what is new")
        yield [*(str(folder / part.name) for part in parts), *rest]
        for path in folder.iterdir():
            if not path.name.startswith(NAME):
                path.unlink()
    with suppress(OSError):  # another command has begun to count there
        folder.rmdir()


def folder_of(output: str) -> Path:
    """The folder of the counts of parts, until `output` is written."""
    return Path(f"{output}.counting")


def count_part(part: Part, order: int, unit: str, memory_mb: int, folder: str) -> None:
    """Writes the counts of one part to its file in `folder`. Raises InputError naming file and line."""
    if not (Path(folder) / NAME).exists():  # the lock
        raise InputError(f"{folder} is not there; write to a folder that all machines share, under the same path")
    corpus = new_corpus(memory_mb, folder)
    try:
        _add(corpus, part.stretches, unit)
    except InputError:
        _add(corpus, [stretch.numbered() for stretch in part.stretches], unit)  # raises it with the number of the line
        raise
    corpus.select(None, 1, 0, 1.0)
    counts_file.write(corpus, order, unit, Path(folder) / part.name)


def _add(corpus: Corpus, stretches: Iterable[Stretch], unit: str) -> None:
    for stretch in stretches:
        add_text(corpus, stretch.path, unit, stretch.span, shows_progress=False)


def divided(texts: Sequence[str], order: int, unit: str) -> tuple[list[Part], list[str]]:
    """Parts of equal size, and the texts that only this process can read, or that are counts. No parts of small texts.

    Text files are divided at ends of lines. Compressed files and manifests are not divided.
    """
    rest = [path for path in texts if path == "-" or is_stream(path) or counts_file.is_counts(path)]
    sources = [Source.of(path) for path in texts if path not in rest]
    total = sum(source.size for source in sources)
    count = min(math.ceil(total / PART), MOST_PARTS)
    if count < 2:
        return [], list(texts)
    parts: list[Part] = []
    stretches: list[Stretch] = []
    room = wanted = math.ceil(total / count)
    for source in sources:
        begin = 0
        while begin < source.size or not begin:
            end = source.size if source.is_whole else _line_end(source, begin + room)
            stretches.append(Stretch(source.path, WHOLE if source.is_whole else Span(begin, end)))
            room, begin = room - (end - begin), max(end, 1)
            if room <= 0:
                parts.append(_part(stretches, wanted - room, order, unit))
                room, stretches = wanted, []
    if stretches:
        parts.append(_part(stretches, wanted - room, order, unit))
    return parts, rest


def _line_end(source: Source, place: int) -> int:
    """The end of the line at a place. A line that is too long to be read may be cut."""
    if place >= source.size:
        return source.size
    with open(source.path, "rb") as file:
        file.seek(place - 1)
        file.readline(2 * LINE_LIMIT)
        return min(file.tell(), source.size)


def _part(stretches: Sequence[Stretch], size: int, order: int, unit: str) -> Part:
    what = [order, unit, *((s.path, fingerprints.stamp(s.path), s.span.begin, s.span.end) for s in stretches)]
    name = hashlib.sha256(json.dumps(what).encode(errors="surrogateescape")).hexdigest()[:16]
    return Part(f"{name}.counts", tuple(stretches), size)


def _bar(parts: Sequence[Part]) -> tqdm:
    size = sum(part.size for part in parts)
    return tqdm(total=size, unit="B", unit_scale=True, desc=f"count {len(parts)} parts", delay=2.0, leave=False)
