"""What an import leaves out, changes or guesses; each kind of it is told once."""


class Notes:
    """Sentences about an import, each with the things that it is true of."""

    def __init__(self) -> None:
        self._things: dict[str, dict[str, None]] = {}
        self._few: set[str] = set()

    def add(self, what: str, thing: str) -> None:
        """`thing`, such as the name of a column or an utterance, belongs to the sentence `what`."""
        self._things.setdefault(what, {})[thing] = None

    def name(self, what: str, thing: str) -> None:
        """As `add`, for things that are few, such as columns: all of them are named."""
        self._few.add(what)
        self.add(what, thing)

    def sentences(self, most: int = 5) -> list[str]:
        """One per kind, with the first `most` things if they may be many."""
        return [
            _sentence(what, list(things), len(things) if what in self._few else most)
            for what, things in self._things.items()
        ]


def _sentence(what: str, things: list[str], most: int) -> str:
    more = f" and {len(things) - most:,} more" if len(things) > most else ""
    return f"{what}: {', '.join(things[:most])}{more}"
