"""ARPA files: the text form of back-off n-gram models.

    \\data\\
    ngram 1=4
    ngram 2=3

    \\1-grams:
    -0.7781513  <unk>       0
    0           <s>         -0.30103
    ...
    \\2-grams:
    -0.1760913  <s> yes
    ...
    \\end\\

A line holds log10 probability, words, log10 back-off, between tabs; the back-off may be left out and is 0 then. The
highest order has none. Files packed with gzip or xz are read; names that end in .gz or .xz are written so.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from asr.errors import InputError
from asr.files import atomic_write, packed
from asr.lm.model import BEGIN, END, MAX_ORDER, NgramModel, Ngrams, find
from asr.lm.texts import Lines

_BLOCK = 1 << 14  # lines parsed, or formatted, together
_NONE = Ngrams(np.zeros((0, 0), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)\s*")


def read(path: str | Path) -> NgramModel:
    """The model of an ARPA file; word ids follow the order of its unigrams.

    Raises InputError naming file and line for: a count that disagrees with \\data\\, a malformed number, a positive
    or infinite log probability, an unknown word, an n-gram that stands twice or whose history is not listed, a
    missing `<s>` or `</s>`, a missing \\end\\.
    """
    with Lines(path) as lines:
        return _Reader(lines).model()


def write(model: NgramModel, path: str | Path) -> None:
    """Write `model` with 7 significant digits, n-grams in the order of their ids."""
    bar = tqdm(total=sum(len(ngrams.ids) for ngrams in model.orders), unit=" n-grams", unit_scale=True,
               desc=f"write {path}", delay=2.0, leave=False)  # fmt: skip
    with bar, atomic_write(path, "wb") as file, packed(file, path) as out:
        counts = "".join(f"ngram {n}={len(ngrams.ids)}\n" for n, ngrams in enumerate(model.orders, 1))
        out.write(f"\\data\\\n{counts}".encode())
        for n, ngrams in enumerate(model.orders, 1):
            out.write(f"\n\\{n}-grams:\n".encode())
            for start in range(0, len(ngrams.ids), _BLOCK):
                block = Ngrams(*(column[start : start + _BLOCK] for column in ngrams))
                out.write(_format(block, model.words, highest=n == model.order).encode())
                bar.update(len(block.ids))
        out.write(b"\n\\end\\\n")


def _format(ngrams: Ngrams, words: list[str], highest: bool) -> str:
    columns = [ngrams.log10_prob.tolist(), *([words[i] for i in column.tolist()] for column in ngrams.ids.T)]
    line = "%.7g\t" + " ".join(["%s"] * ngrams.ids.shape[1])
    if not highest:
        columns.append(ngrams.log10_backoff.tolist())
        line += "\t%.7g"
    return "".join(map((line + "\n").__mod__, zip(*columns, strict=True)))


class _Reader:
    """Order by order: blocks of lines -> columns in the file's order -> checked -> sorted."""

    def __init__(self, lines: Lines):
        self.lines = lines
        self.words: list[str] = []
        self.ids: dict[bytes, int] = {}
        self.keys: list[np.ndarray] = []  # as NgramModel.keys

    def model(self) -> NgramModel:
        counts = self._counts()
        orders = []
        for n, count in enumerate(counts, 1):
            orders.append(self._order(n, count, highest=n == len(counts)))
            self._expect(f"\\{n + 1}-grams:" if n < len(counts) else "\\end\\", f"{count} {n}-grams")
        return NgramModel(self.words, orders)

    def _counts(self) -> list[int]:
        """What \\data\\ announces; reads up to the head of the 1-grams."""
        while (line := self._next()) != b"\\data\\":
            if line is None:
                raise InputError(f"{self.lines.name}: no line '\\data\\'; this is not an ARPA file")
        counts: list[int] = []
        while (line := self._next()) != b"\\1-grams:":
            found = _COUNT.fullmatch(line or b"")
            if not found or int(found[1]) != len(counts) + 1:
                self._fail(f"expected 'ngram {len(counts) + 1}=COUNT' or '\\1-grams:'")
            counts.append(int(found[2]))
        if not 1 <= len(counts) <= MAX_ORDER:
            self._fail(f"\\data\\ announces {len(counts)} orders; 1 to {MAX_ORDER} can be read")
        return counts

    def _order(self, n: int, count: int, highest: bool) -> Ngrams:
        first = self.lines.number + 1
        sizes = [min(_BLOCK, count - start) for start in range(0, count, _BLOCK)]
        blocks = [_NONE._replace(ids=np.zeros((0, n), np.int32)), *(self._block(n, size, highest) for size in sizes)]
        ids, prob, backoff = (np.concatenate(column) for column in zip(*blocks, strict=True))
        for mark in (BEGIN, END):
            if mark.encode() not in self.ids:
                self._fail(f"no '{mark}' among the 1-grams above; estimate the model on whole sentences")
        history = find(self.keys, ids[:, :-1], len(self.words))
        self._check(history < 0, first, "the n-gram's history is not among the shorter n-grams; "
                    "rebuild or prune the model with a tool that keeps it")  # fmt: skip
        key = history * len(self.words) + ids[:, -1]
        order = np.argsort(key)
        twice = np.zeros(count, bool)
        twice[order[1:]] = key[order[1:]] == key[order[:-1]]
        self._check(twice, first, "the n-gram stands twice; keep one of them")
        self.keys.append(key[order])
        return Ngrams(ids[order], prob[order], backoff[order])

    def _block(self, n: int, count: int, highest: bool) -> Ngrams:
        """The next `count` lines, in the file's order."""
        first = self.lines.number + 1
        rows = list(map(bytes.split, self.lines.take(count)))
        fields = np.fromiter(map(len, rows), np.int64, len(rows))
        ended = fields <= 1
        ended[ended] = [not rows[i] or rows[i][0].startswith(b"\\") for i in np.flatnonzero(ended)]
        self._check(ended, first, f"the {n}-grams end here, before the number that \\data\\ announces; correct it")
        if len(rows) < count:
            self._fail(f"the file ends among the {n}-grams; it is cut short")
        self._check((fields != n + 1) & (fields != n + 2), first, f"expected a log10 probability, {n} words"
                    + ("" if highest else " and a log10 back-off"))  # fmt: skip
        for i in np.flatnonzero(fields == n + 1):
            rows[i].append(b"0")
        probs, *words, backoffs = zip(*rows, strict=True)
        prob, backoff = self._numbers(probs, first), self._numbers(backoffs, first)
        self._check(prob > 0, first, "the log10 probability is positive")
        self._check((backoff != 0) & highest, first, "an n-gram of the highest order has no back-off")
        if n == 1:
            self._add_words(words[0], first)
        ids = np.stack([self._word_ids(column, first) for column in words], axis=1)  # (count, n)
        return Ngrams(ids, prob.astype(np.float32), backoff.astype(np.float32))

    def _numbers(self, tokens: Sequence[bytes], first: int) -> np.ndarray:
        try:
            values = np.fromiter(map(float, tokens), np.float64, len(tokens))
        except ValueError:
            values = np.array([_number(token) for token in tokens])
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            self._fail(f"'{_text(tokens[bad[0]])}' is not a finite number", first + int(bad[0]))
        return values

    def _add_words(self, tokens: Sequence[bytes], first: int) -> None:
        for token in tokens:
            self.ids.setdefault(token, len(self.ids))
        if len(self.ids) < len(self.words) + len(tokens):
            ids = self._word_ids(tokens, first)
            twice = ids != len(self.words) + np.arange(len(ids))
            self._check(twice, first, "the word stands twice among the 1-grams; keep one of them")
        try:
            self.words += [token.decode() for token in tokens]
        except UnicodeDecodeError:
            bad = next(i for i, token in enumerate(tokens) if "\ufffd" in token.decode(errors="replace"))
            self._fail("the word is not UTF-8; convert the file, for instance with iconv", first + bad)

    def _word_ids(self, tokens: Sequence[bytes], first: int) -> np.ndarray:
        try:
            return np.fromiter(map(self.ids.__getitem__, tokens), np.int32, len(tokens))
        except KeyError:
            bad = next(i for i, token in enumerate(tokens) if token not in self.ids)
            self._fail(f"word '{_text(tokens[bad])}' is not among the 1-grams", first + bad)

    def _next(self) -> bytes | None:
        """The next line that is not empty, None at the end."""
        while lines := self.lines.take(1):
            if line := lines[0].strip():
                return line
        return None

    def _expect(self, head: str, behind: str) -> None:
        line = self._next()
        if line is None:
            self._fail(f"expected '{head}' behind {behind}, the file ends; it is cut short")
        if line != head.encode():
            self._fail(f"expected '{head}' behind {behind}, found '{_text(line)}'; correct the count in \\data\\")

    def _check(self, bad: np.ndarray, first: int, message: str) -> None:
        """Refuse the first line of those from `first` on for which `bad` is true."""
        if bad.any():
            self._fail(message, first + int(np.argmax(bad)))

    def _fail(self, message: str, number: int | None = None) -> NoReturn:
        raise InputError(f"{self.lines.name}:{number or self.lines.number}: {message}")


def _number(token: bytes) -> float:
    try:
        return float(token)
    except ValueError:
        return np.nan


def _text(token: bytes) -> str:
    return token[:40].decode(errors="replace")
