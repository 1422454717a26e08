"""Words that one request adds to the vocabulary, for that request alone.

    space = space.with_words([NewWord("bixby"), NewWord("gangnam", slot="<place>", weight=1.0)], tokens, pronounce)

This needs a dynamic graph (asr.graph.dynamic), of which nothing is copied or rebuilt. A word without a slot may occur
where the language model has `<unk>`, or else wherever the model backs off to unigrams; its cost is that of the model's
more frequent words (asr.search.space). A slot is a word in angle brackets in the training text of the language model,
such as `<name>`: the words of a slot share its probability, and the words that follow see the slot as their history. A
word that is given twice has both pronunciations and the larger weight.
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
    pronunciations: tuple[tuple[str, ...], ...] = ()  # in the units of the model; empty: they are looked up or guessed
    slot: str | None = None  # such as "<name>"; None: anywhere
    weight: float = 0.0  # nats by which its cost is lower

    def __post_init__(self) -> None:
        """Raises InputError for an invalid word, and for a weight that is not a number or too large."""
        check_word(self.word, "new word")
        if not abs(self.weight) <= MOST_COST:
            raise InputError(
                f"the new word '{self.word}' has the weight {self.weight}; it must be a number from -{MOST_COST:g} to "
                f"{MOST_COST:g}"
            )


def merged(new_words: Iterable[NewWord]) -> list[NewWord]:
    """The words with each one listed once per slot."""
    found: dict[tuple[str, str | None], NewWord] = {}
    for new in new_words:
        if (key := (new.word, new.slot)) in found:
            pronunciations = tuple(dict.fromkeys((*found[key].pronunciations, *new.pronunciations)))
            new = NewWord(new.word, pronunciations, new.slot, max(found[key].weight, new.weight))
        found[key] = new
    return list(found.values())


def read_new_words(path: str | Path) -> list[NewWord]:
    """The words of a file, one per line: `word<TAB>pronunciation<TAB>slot<TAB>weight`.

    Units of a pronunciation are separated by spaces. Columns after the word may be empty or missing. Raises InputError
    naming the file, and the line that is invalid.
    """
    found = lines(path, "new words", "one word per line")
    return [_parse(line, f"{path}:{number}") for number, line in found if line.strip()]


def _parse(line: str, where: str) -> NewWord:
    word, *columns = (column.strip() for column in line.split("\t"))
    if not word or " " in word or len(columns) > 3:
        raise InputError(
            f"{where}: expected 'word' or 'word<TAB>pronunciation<TAB>slot<TAB>weight'; further columns are optional"
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
