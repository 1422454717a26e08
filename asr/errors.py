"""The exception for bad input: one sentence that names what is wrong, where, and what to do about it."""

from collections.abc import Iterator
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
