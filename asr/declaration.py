"""How options are declared: defaults with help, choices and bounds, and groups that take no other name or type."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar, cast, get_args, get_origin

from asr.bounds import complaint
from asr.errors import InputError, nearest

T = TypeVar("T")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def option(
    default: T, help: str, choices: Sequence[str] = (), within: str = "", gone: Mapping[str, str] | None = None
) -> T:
    """A field of a configuration.

    `choices`: the allowed values; empty if any value of the type is allowed. `gone`: former choices, with what to do
    instead. `within`: the interval of a number (asr.bounds). The bounds keep what a bundle asks for, and what a
    mistyped number builds, within a machine's memory.
    """
    metadata = {"help": help, "choices": tuple(choices), "within": within, "gone": dict(gone or {})}
    if isinstance(default, list):
        return cast(T, field(default_factory=lambda: list(default), metadata=metadata))
    return cast(T, field(default=default, metadata=metadata))


class Options:
    """Base of the configurations: only declared options can be set, so that a mistyped name is not ignored.

    Raises AttributeError for a name that is no option, and InputError for a value of another type. Paths become
    strings, and numbers of numpy those of Python.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        known = _declared(cast(Any, type(self)))
        if name not in known:
            raise AttributeError(f"{type(self).__name__} has no option '{name}'{nearest(name, known)}")
        try:
            typed = _typed(value, known[name].type)
        except TypeError:
            raise InputError(f"{self._dotted(name)}={str(value)[:40]}: {_expected(known[name], value)}") from None
        object.__setattr__(self, name, typed)

    def _dotted(self, name: str) -> str:
        """`features.num_bins` for the option num_bins of FeaturesConfig."""
        group = type(self).__name__.removesuffix("Config").lower()
        return f"{group}.{name}" if group else name


def _expected(f: dataclasses.Field, value: Any) -> str:
    """What an option expects, when `value` is of another type."""
    if choices := f.metadata.get("choices"):
        return f"expected one of {', '.join(choices)}"
    if dataclasses.is_dataclass(f.type):
        return f"expected a {cast(type, f.type).__name__}, not {type(value).__name__}"
    return complaint(value, f.type, f.metadata.get("within", "")) or f"expected a value of the type {f.type}"


def _typed(value: Any, kind: Any) -> Any:
    """`value` as the type `kind` of an option. Raises TypeError if it is of another type."""
    if kind is Any or (isinstance(value, str) and REFERENCE.search(value)):
        return value
    if get_origin(kind) is list and isinstance(value, (list, tuple)):
        return [_typed(item, get_args(kind)[0]) for item in value]
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, cast(type, kind)):
            raise TypeError
        return value
    plain = _plain(value)
    if complaint(plain, kind, ""):
        raise TypeError
    return plain


def _plain(value: Any) -> Any:
    """Paths become strings, and numbers of numpy those of Python."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):  # numpy 1 and 2
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


@cache
def _declared(kind: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(kind)}
