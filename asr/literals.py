"""JSON and whole numbers in files from outside: a value, or a refusal that every reader handles."""

import json
from typing import Any

MOST_DIGITS = 18  # of a whole number; the value fits into 64 bits


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`. Raises ValueError for deep nesting and for half of a surrogate pair, too."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in text if isinstance(text, str) else b"\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair cannot be written anywhere
    return value


def parse_digits(text: str | bytes) -> int | None:
    """The number that the digits 0 to 9 spell; None for anything else and for more than MOST_DIGITS digits.

    `str.isdigit` also accepts characters such as "²", which `int` refuses.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
