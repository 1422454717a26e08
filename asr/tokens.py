"""The token table. Only this module knows how net outputs, graph labels and symbols are numbered.

Net output 0 is the CTC blank. Graph label 0 is epsilon, so token k of the net has the graph label k + 1.
A table file holds one token per line, in the order of the net's outputs. The first is always `<blk>`. Tables of other
toolkits (asr/token_tables.py) become such tables when they are read.
"""

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from asr import token_tables
from asr.errors import InputError
from asr.files import atomic_write
from asr.textfiles import lines
from asr.token_tables import BLANK, SPACE

__all__ = ["BLANK", "BLANK_ID", "EPSILON_LABEL", "SPACE", "Tokens", "min_frames"]

BLANK_ID = 0  # net output
EPSILON_LABEL = 0


class Tokens:
    """An immutable two-way table of tokens. `tokens[k]` is the symbol of net output k."""

    def __init__(self, symbols: Sequence[str]):
        self.symbols = list(symbols)
        if not self.symbols or self.symbols[0] != BLANK:
            raise InputError(f"a token table must start with {BLANK}; it starts with {self.symbols[:1]}")
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self._ids) != len(self.symbols):
            twice = next(s for i, s in enumerate(self.symbols) if self._ids[s] != i)
            raise InputError(f"token '{twice}' appears twice in the token table; keep one of them")

    @classmethod
    def read(cls, path: str | Path) -> "Tokens":
        """Raises InputError if the file cannot be read or is not a token table."""
        return cls(token_tables.read(list(lines(path, "token table", "one token per line")), path))

    @classmethod
    def from_characters(cls, texts: Iterable[str]) -> "Tokens":
        """All characters of the texts, sorted; a space becomes `<space>`."""
        characters = {c for text in texts for c in text}
        has_space = " " in characters
        return cls([BLANK, *([SPACE] if has_space else []), *sorted(characters - {" "})])

    def write(self, path: str | Path) -> None:
        """Writes a table file, atomically."""
        with atomic_write(path) as file:
            file.writelines(symbol + "\n" for symbol in self.symbols)

    def encode(self, units: Iterable[str]) -> list[int]:
        """Symbols -> net outputs. Raises InputError naming the first unknown symbol."""
        units = list(units)
        try:
            return [self._ids[unit] for unit in units]
        except KeyError as e:
            raise InputError(
                f"token {e.args[0]!r} is not in the token table ({len(self)} tokens); "
                "clean the text or rebuild the table"
            ) from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Net outputs -> symbols."""
        return [self.symbols[i] for i in ids]

    @staticmethod
    def label(token: int) -> int:
        """Graph label of net output `token`."""
        return token + 1

    @staticmethod
    def token(label: int) -> int:
        """Net output of graph label `label` (not epsilon)."""
        return label - 1

    def __len__(self) -> int:
        return len(self.symbols)

    def __getitem__(self, token: int) -> str:
        return self.symbols[token]

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and self.symbols == other.symbols


def min_frames(labels: Sequence[Hashable]) -> int:
    """The least number of output frames that CTC can align with the labels: one per label, and one for the blank
    between two equal neighbours."""
    return len(labels) + sum(bool(a == b) for a, b in zip(labels, labels[1:], strict=False))
