"""What an import leaves out, changes or guesses; each kind of it is told once."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from asr.errors import InputError

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")
MOST_ASIDE = 0.1  # share of a corpus; with more of them, the form of the corpus is another one


class Notes:
    """Sentences about an import, each with the things that it is true of."""

    def __init__(self) -> None:
        self._things: dict[str, dict[str, None]] = {}
        self._few: set[str] = set()
        self._faults: list[InputError] = []

    def add(self, what: str, thing: str) -> None:
        """`thing`, such as the name of a column or an utterance, belongs to the sentence `what`."""
        self._things.setdefault(what, {})[thing] = None

    def name(self, what: str, thing: str) -> None:
        """As `add`, for things that are few, such as columns: all of them are named."""
        self._few.add(what)
        self.add(what, thing)

    def set_aside(self, fault: InputError) -> None:
        """A line or an utterance is malformed; the others are read. `check_aside` judges how many may be."""
        self._faults.append(fault)

    def each(self, read: Callable[[_Item], Iterable[_Read]], items: Iterable[_Item]) -> Iterator[_Read]:
        """What `read` finds in each item; items for which it raises InputError are set aside."""
        for item in items:
            try:
                found = list(read(item))
            except InputError as e:
                self.set_aside(e)
            else:
                yield from found

    def check_aside(self, num_read: int) -> None:
        """Raises the first fault if more than `MOST_ASIDE` of the corpus is set aside, else notes all."""
        if len(self._faults) > MOST_ASIDE * (num_read + len(self._faults)):
            raise self._faults[0]
        for fault in self._faults:
            self.add("malformed and set aside", str(fault))

    def sentences(self, most: int = 5) -> list[str]:
        """One per kind, with the first `most` things if they may be many."""
        return [
            _sentence(what, list(things), len(things) if what in self._few else most)
            for what, things in self._things.items()
        ]


def _sentence(what: str, things: list[str], most: int) -> str:
    more = f" and {len(things) - most:,} more" if len(things) > most else ""
    return f"{what}: {', '.join(things[:most])}{more}"
