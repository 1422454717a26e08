"""The exception for bad input: one sentence that names what is wrong, where, and what to do about it."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input from outside: a file, a line, an option. The CLI prints the sentence and exits with code 2."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turns the ValueError that an extension raises for bad input (std::invalid_argument) into an InputError."""
    try:
        yield
    except ValueError as e:
        raise InputError(str(e)) from None


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Makes an OSError name `path` if it names no file, as the error of a write to a full disk does."""
    try:
        yield
    except OSError as e:
        if e.filename is None:
            e.filename = str(path)
        raise


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean '...'?` with the known name closest to `word`; empty if none is close.

    A dotted name is also found by its last part.
    """
    names = list(known)
    last_parts = {name.rpartition(".")[2]: name for name in reversed(names)} | {name: name for name in names}
    close = difflib.get_close_matches(word, last_parts, 1, cutoff)
    return f"; did you mean '{last_parts[close[0]]}'?" if close else ""
