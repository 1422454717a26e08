"""JSON and whole numbers in files from outside: a value, or a refusal that every reader handles."""

import json
from pathlib import Path
from typing import Any

LONGEST_NAME = 80  # of a field, in sentences
MOST_DIGITS = 18  # of a whole number; the value fits into 64 bits


class RepeatedField(ValueError):
    """An object of JSON has two fields of one name."""


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`. Raises ValueError for deep nesting, half of a surrogate pair and a field that occurs twice,
    too."""
    if not isinstance(text, str):
        text = text.decode(json.detect_encoding(text))  # `json.loads` lets halves of surrogate pairs pass
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair cannot be written anywhere
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError, and ValueError for another content."""
    found = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. `json.loads` itself takes the last of equal names."""
    if len(fields := dict(pairs)) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RepeatedField(f"the field '{name[:LONGEST_NAME]}' occurs twice; keep one")
    return fields


def parse_digits(text: str | bytes) -> int | None:
    """The number that the digits 0 to 9 spell; None for anything else and for more than MOST_DIGITS digits.

    `str.isdigit` also accepts characters such as "²", which `int` refuses.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
