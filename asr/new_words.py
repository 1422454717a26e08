"""Words that one request brings along, decodable beside the language model's own at once and for that request only.

    tables = tables.with_words([NewWord("bixby"), NewWord("gangnam", slot="<place>", weight=1.0)])

Needs a dynamic graph (asr.graph.dynamic), of which nothing is copied or built again. A word without a slot may stand
wherever the language model backs off to single words, at the cost of the median of these; the history behind it is
empty. A slot is a word of the language model's text in angle brackets, such as `<name>`: its words share its
probability there, and the history goes on behind it.
"""

from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError


@dataclass(frozen=True)
class NewWord:
    word: str
    pronunciations: tuple[tuple[str, ...], ...] = ()  # in units of the net; none: they are found
    slot: str | None = None  # such as "<name>"; None: anywhere
    weight: float = 0.0  # nats by which it is likelier


def read_new_words(path: str | Path) -> list[NewWord]:
    """The words of a file, one a line: `word`, or further columns behind tabs: pronunciation (units between spaces),
    slot, weight; a column may be empty. Raises InputError naming the line."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the new words {path}: {e}; it holds a word a line, in UTF-8") from e
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parse(line: str, where: str) -> NewWord:
    word, *columns = (column.strip() for column in line.split("\t"))
    if not word or " " in word or len(columns) > 3:
        raise InputError(
            f"{where}: expected 'word', or 'word<TAB>pronunciation<TAB>slot<TAB>weight' with columns left empty or out"
        )
    units, slot, weight = [*columns, "", "", ""][:3]
    try:
        return NewWord(word, (tuple(units.split()),) if units else (), slot or None, float(weight or 0))
    except ValueError:
        raise InputError(f"{where}: the weight '{weight}' is not a number") from None
