"""The exception for bad input: one sentence that names what is wrong, where, and what to do about it."""

import difflib
import importlib.metadata
import shlex
import traceback
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
    """`; did you mean '...'?` with the known name closest to `word`, the first of equals; empty if none is close.

    A dotted name is also found by its last part.
    """
    spellings: dict[str, str] = {}
    for name in known:
        spellings.setdefault(name.rpartition(".")[2], name)
        spellings[name] = name
    likeness = {spelling: difflib.SequenceMatcher(None, spelling, word).ratio() for spelling in spellings}
    best = max(likeness, key=likeness.__getitem__, default="")
    return f"; did you mean '{spellings[best]}'?" if best and likeness[best] >= cutoff else ""


def missing(extra: str, what: str, package: str) -> str:
    """`WHAT needs PACKAGE: pip install ...` with the packages of an optional extra.

    No package index has the toolkit, so `pip install 'asr-toolkit[EXTRA]'` would fail, and '.[EXTRA]' needs a clone.
    The names of the packages work for everyone.
    """
    try:
        required = importlib.metadata.requires("asr-toolkit") or []
    except importlib.metadata.PackageNotFoundError:  # the sources, not installed
        return f"{what} needs {package}: pip install '.[{extra}]' in the clone"
    packages = []
    for requirement in required:
        name, _, condition = requirement.partition(";")
        if f'extra=="{extra}"' in condition.replace(" ", "").replace("'", '"'):
            packages.append(name.strip())
    return f"{what} needs {package}: pip install {shlex.join(packages)}"


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Around imports of the packages of an extra. Raises InputError if one is not installed."""
    try:
        yield
    except ModuleNotFoundError as e:
        raise InputError(missing(extra, what, (e.name or "").partition(".")[0])) from None


def places(error: BaseException) -> str:
    """The kinds of an exception, its causes and those in its group, each with its stack; what came first is first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [cause] if cause else []
    before += [each for each in getattr(error, "exceptions", ()) if isinstance(each, BaseException)]
    stack = "".join(traceback.format_tb(error.__traceback__))
    return "".join(f"{places(e)}\n" for e in before) + f"{stack}{type(error).__module__}.{type(error).__qualname__}"
