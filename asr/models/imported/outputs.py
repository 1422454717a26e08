"""Which outputs of a foreign model become tokens, and under which names.

The blank becomes output 0 and the gap between words `<space>`. Special symbols such as `<s>`, which no text holds, are
dropped. The softmax over the outputs that stay renormalises the log-probs.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError
from asr.features.encoders.json_files import read_json
from asr.textfiles import lines
from asr.token_tables import BLANK, BLANKS, SPACE, UNSPOKEN

MOST = 1 << 16  # outputs
_NUMBERED = re.compile(r"(.*[ \t])?\d+\s*")
_JAMO = re.compile("[\u1100-\u11ff]")
_BYTE = re.compile("<0x[0-9A-F]{2}>")  # SentencePiece spells characters that it has no piece for in bytes


@dataclass(frozen=True)
class Outputs:
    """`symbols[k]`, our token k, is output `columns[k]` of the original. `dropped`: the symbols of the others."""

    symbols: list[str]
    columns: list[int]
    dropped: list[str]

    @property
    def unit(self) -> str:
        """The unit that the symbols look like."""
        units = [symbol for symbol in self.symbols if symbol not in (BLANK, SPACE)]
        if _are_pieces(units):
            return "piece"
        if any(len(symbol) > 1 for symbol in units):
            return "phone"
        return "jamo" if any(_JAMO.match(symbol) for symbol in units) else "char"


def _are_pieces(symbols: Iterable[str | None]) -> bool:
    return any(symbol is not None and len(symbol) > 1 and symbol[0] == "▁" for symbol in symbols)


def choose(
    symbols: Sequence[str | None], blank: int, spaces: Collection[str], special: Collection[str], where: object
) -> Outputs:
    """`symbols[i]`: that of output i; None if it has none. `spaces`: names of the gap between words, the best first.

    Raises InputError if the blank is no output, if two outputs have one symbol, or if none is left.
    """
    if not 0 <= blank < len(symbols):
        raise InputError(f"{where}: the blank is output {blank}, but there are {len(symbols)} outputs; name another")
    if _are_pieces(symbols):
        spaces = ()  # `▁` alone is a piece too
    if wordpiece := next((symbol for symbol in symbols if symbol and symbol.startswith("##")), None):
        raise InputError(f"{where}: '{wordpiece}' is a piece of WordPiece; only pieces that begin words with ▁ are "
                         "supported")  # fmt: skip
    space = next((name for name in spaces if name in symbols), None)
    unspoken = {*UNSPOKEN, *BLANKS, SPACE, *special, *spaces} - {space}
    kept, dropped = [blank], []
    for i, symbol in enumerate(symbols):
        if i == blank:
            continue
        if not symbol or symbol in unspoken or _BYTE.fullmatch(symbol) or re.search(r"\s", symbol) and symbol != space:
            dropped.append(f"output {i}" if symbol is None else symbol if symbol.strip() else repr(symbol))
        else:
            kept.append(i)
    names = [BLANK] + [SPACE if symbols[i] == space else str(symbols[i]) for i in kept[1:]]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where}: two outputs have the symbol '{twice}'; give each output its own")
    if len(names) < 2 or len(names) > MOST:
        raise InputError(f"{where}: {len(names) - 1} outputs are tokens; expected 1 to {MOST - 1}")
    return Outputs(names, kept, dropped)


def read_table(path: Path) -> list[str | None]:
    """The symbol of each output: lines of `token` or `token number`, or the JSON {"token": number, ...}.

    Raises InputError naming the file, and the line if there is one.
    """
    numbered = list(lines(path, "token table", "one token per line"))
    if numbered and numbered[0][1].lstrip().startswith("{"):
        pairs = [(0, token, number) for token, number in read_json(path).items()]
    elif numbered and all(_NUMBERED.fullmatch(line) for _, line in numbered if line.strip()):
        # A line that starts with its number, as `  5` does, is the token of a space.
        parts = [(at, line.rpartition(line.split()[-1])[0], line.split()[-1]) for at, line in numbered if line.strip()]
        pairs = [(at, token.strip() or " ", int(number)) for at, token, number in parts]
    else:
        return [line.strip() or None for _, line in numbered]
    table: list[str | None] = [None] * (1 + max((n for _, _, n in pairs if type(n) is int and n < MOST), default=0))
    for at, token, number in pairs:
        if type(number) is not int or not 0 <= number < len(table) or table[number] is not None:
            where = f"{path}:{at}" if at else f"{path}"
            raise InputError(f"{where}: '{token}' has the number {number!r}, which is negative, too large or that of "
                             "another token")  # fmt: skip
        table[number] = token
    return table
