"""Bounds of numeric options, in interval notation: "[0, 1)" holds 0 and not 1; "(0, inf]" also holds infinity."""

import sys
import types
import typing
from functools import cache
from numbers import Integral, Real
from typing import Any


def complaint(value: Any, kind: Any, within: str) -> str | None:
    """What is wrong with the value of an option, as `expected a number in (0, 1]`; None if nothing is.

    `kind`: the type of the option, such as int, float | None or list[int]. NaN is in no interval, and a bool is not a
    number.
    """
    if kind is Any:
        return None
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            return f"expected a list of {_PLURALS[item]}" + (f" in {within}" if within else "")
        return next((found for x in value if (found := complaint(x, item, within))), None)
    if not _is(value, kind) or within and not _contains(within, value):
        return f"expected {_NAMES[kind]}" + (f" in {within}" if within else "")
    return None


_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "text", bool: "true or false"}


def _is(value: Any, kind: type) -> bool:
    if kind is float and isinstance(value, Integral):
        return not isinstance(value, bool) and abs(int(value)) <= sys.float_info.max
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, kind)


def _contains(within: str, value: Any) -> bool:
    low, high = _ends(within)
    above = low <= value if within[0] == "[" else low < value
    return above and (value <= high if within[-1] == "]" else value < high)


@cache
def _ends(within: str) -> tuple[float, float]:
    low, high = within[1:-1].split(",")
    return float(low), float(high)
