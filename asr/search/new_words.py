"""Words that one request brings along, decodable beside the language model's own at once and for that request only.

    space = space.with_words([NewWord("bixby"), NewWord("gangnam", slot="<place>", weight=1.0)])

This needs a dynamic graph (asr.graph.dynamic); nothing of it is copied or rebuilt. A word without a slot is allowed
where the language model has `<unk>`, or else wherever it backs off to unigrams; its cost is that of the more frequent
words of the model (asr.search.space). A slot is a word in angle brackets in the text of the language model, such as
`<name>`: its words share the slot's probability, and the slot remains the history of the words after it. A word given
twice has both pronunciations and the larger weight.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError
from asr.search.decoder import MOST_COST
from asr.textfiles import lines
from asr.words import check_word


@dataclass(frozen=True)
class NewWord:
    word: str
    pronunciations: tuple[tuple[str, ...], ...] = ()  # in units of the net; none: they are found
    slot: str | None = None  # such as "<name>"; None: anywhere
    weight: float = 0.0  # nats by which it is likelier

    def __post_init__(self) -> None:
        """Raises InputError for what is no word, and for a weight that is no number or too large."""
        check_word(self.word, "new word")
        if not abs(self.weight) <= MOST_COST:
            raise InputError(f"the new word '{self.word}' has the weight {self.weight}; it is at most {MOST_COST:g}")


def merged(new_words: Iterable[NewWord]) -> list[NewWord]:
    """Each word once in each slot."""
    found: dict[tuple[str, str | None], NewWord] = {}
    for new in new_words:
        if (key := (new.word, new.slot)) in found:
            pronunciations = tuple(dict.fromkeys((*found[key].pronunciations, *new.pronunciations)))
            new = NewWord(new.word, pronunciations, new.slot, max(found[key].weight, new.weight))
        found[key] = new
    return list(found.values())


def read_new_words(path: str | Path) -> list[NewWord]:
    """The words of a file, one a line: `word`, or further columns behind tabs: pronunciation (units between spaces),
    slot, weight; a column may be empty. Raises InputError naming the line."""
    found = lines(path, "new words", "one word per line")
    return [_parse(line, f"{path}:{number}") for number, line in found if line.strip()]


def _parse(line: str, where: str) -> NewWord:
    word, *columns = (column.strip() for column in line.split("\t"))
    if not word or " " in word or len(columns) > 3:
        raise InputError(
            f"{where}: expected 'word', or 'word<TAB>pronunciation<TAB>slot<TAB>weight' with columns left empty or out"
        )
    units, slot, weight = [*columns, "", "", ""][:3]
    try:
        value = float(weight or 0)
    except ValueError:
        raise InputError(f"{where}: the weight '{weight}' is not a number") from None
    try:
        return NewWord(word, (tuple(units.split()),) if units else (), slot or None, value)
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
