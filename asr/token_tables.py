"""Token tables of other toolkits, for `asr.tokens.Tokens.read`.

    token                one per line: ESPnet, NeMo          {"token": 0, ...}   Hugging Face's vocab.json
    token number         Kaldi, k2, icefall, WeNet

The blank has several names and places there; ours is `<blk>` and the first. A warning tells of every change.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from asr.errors import InputError
from asr.literals import parse_json

BLANK = "<blk>"
SPACE = "<space>"
BLANKS = (
    BLANK,
    "<blank>",
    "<ctc_blank>",
    "<ctc>",
    "<b>",
    "<eps>",
    "<epsilon>",
    "<pad>",
    "[PAD]",
)  # the first one counts
SPACES = ("|", "▁")  # between words, in tables of characters
UNSPOKEN = frozenset({
    "<unk>", "<UNK>", "[UNK]", "<s>", "</s>", "<sos>", "<eos>", "<sos/eos>", "<bos>", "<mask>", "[CLS]", "[SEP]"
})  # fmt: skip
_AUXILIARY = re.compile(r"#\d+")
_NUMBERED = re.compile(r"(.*\S)[ \t]+(-?[0-9]{1,18})")
_SENTENCEPIECE = re.compile(r"[^\t]+\t(-\d+(\.\d+)?(e-?\d+)?|0)")
_log = logging.getLogger(__name__)


def read(numbered: Sequence[tuple[int, str]], path: str | Path) -> list[str]:
    """The tokens of a table, ours first: `<blk>`, and `<space>` for the gap between words.

    Raises InputError naming the file, and the line if there is one, for a table that our units cannot spell.
    """
    filled = [(number, line) for number, line in numbered if line]
    if not filled:
        raise InputError(f"the token table {path} is empty; expected one token per line, {BLANK} first")
    if (gap := next((i for i, (number, _) in enumerate(filled, 1) if number != i), None)) is not None:
        raise InputError(f"{path}:{gap}: the line is empty; a token table has one token per line")
    if filled[0][1] == BLANK:
        if odd := [(number, line) for number, line in filled if len(line) > 1 and re.search("[ \t]", line)]:
            raise InputError(f"{path}:{odd[0][0]}: '{odd[0][1]}' is not one token; expected one per line")
        return [line for _, line in filled]
    if filled[0][1].lstrip().startswith("{"):
        tokens = _of_json("\n".join(line for _, line in filled), path)
    elif len(filled) > 1 and all(_SENTENCEPIECE.fullmatch(line) for _, line in filled):
        raise InputError(f"{path} is the vocabulary of a sentencepiece model; write its pieces one per line behind "
                         f"{BLANK}, for tokens.unit=piece")  # fmt: skip
    elif all(_NUMBERED.fullmatch(line) for _, line in filled):
        tokens = _of_numbers(filled, path)
    else:
        if odd := [(number, line) for number, line in filled if len(line.split()) > 1]:
            odd.sort(key=lambda row: bool(_NUMBERED.fullmatch(row[1])))
            raise InputError(
                f"{path}:{odd[0][0]}: '{odd[0][1]}' is neither a token nor a token and its number, as 'a 7'"
            )
        tokens = [line for _, line in filled]
    return _ours(tokens, path)


def _of_json(content: str, path: str | Path) -> list[str]:
    try:
        table = parse_json(content)
    except ValueError as e:
        raise InputError(f"{path} begins with '{{' but is not JSON ({e}); expected {{\"token\": number, ...}}") from e
    if not all(token and type(number) is int for token, number in table.items()):
        raise InputError(f'{path} is not a token table; expected {{"token": number, ...}}, such as a vocab.json')
    return _in_order([(0, token, number) for token, number in table.items()], path)


def _of_numbers(lines: Sequence[tuple[int, str]], path: str | Path) -> list[str]:
    rows = []
    for number, line in lines:
        if found := _NUMBERED.fullmatch(line):
            rows.append((number, found[1], int(found[2])))
    names = {token for _, token, _ in rows}
    if {"<s>", "</s>", "#0"} <= names:
        raise InputError(f"{path} is a table of words (it has <s>, </s> and #0); name the table of tokens, tokens.txt")
    return _in_order(rows, path)


def _in_order(rows: Sequence[tuple[int, str, int]], path: str | Path) -> list[str]:
    """The tokens of (line, token, number) rows by their numbers, which must be 0, 1, 2, ...; without `#0`, `#1`, ..."""
    spoken = sorted((row for row in rows if not _AUXILIARY.fullmatch(row[1])), key=lambda row: row[2])
    for expected, (line, token, number) in enumerate(spoken):
        if number != expected:
            where = f"{path}:{line}" if line else f"{path}"
            raise InputError(f"{where}: '{token}' has the number {number}, expected {expected}; the numbers of tokens "
                             "are 0, 1, 2, ... without gaps")  # fmt: skip
    if auxiliary := len(rows) - len(spoken):
        _log.warning("%s: %d disambiguation symbols (#0, #1, ...) are left out", path, auxiliary)
    return [token for _, token, _ in spoken]


def _ours(tokens: list[str], path: str | Path) -> list[str]:
    """The tokens with our blank first and our space."""
    blank = next((name for name in BLANKS if name in tokens), None)
    if blank is None:
        raise InputError(f"the token table {path} has no blank; write {BLANK} in its first line (other names that are "
                         f"known: {', '.join(BLANKS[1:])})")  # fmt: skip
    place = tokens.index(blank)
    changes = [f"the blank '{blank}' of place {place} is '{BLANK}' in place 0"]
    rest = [token for token in tokens if token != blank]
    pieces = [token for token in rest if token[0] == "▁" and len(token) > 1 or token.startswith("##")]
    if pieces:
        raise InputError(f"{path}: '{pieces[0]}' is a piece of a word; write the pieces one per line behind {BLANK}, "
                         "for tokens.unit=piece")  # fmt: skip
    if space := next((name for name in SPACES if name in rest and SPACE not in rest), None):
        rest[rest.index(space)] = SPACE
        changes.append(f"'{space}' is '{SPACE}'")
    if unspoken := [token for token in rest if token in UNSPOKEN or token in BLANKS]:
        rest = [token for token in rest if token not in unspoken]
        changes.append(f"left out, as no text has them: {' '.join(unspoken)}")
    if unspoken or place:
        changes.append("the net's outputs are numbered anew")
    _log.warning("%s: %s", path, "; ".join(changes))
    return [BLANK, *rest]
