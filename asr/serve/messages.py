"""Text messages of a socket: JSON objects with a `type`. Their other fields are checked by asr.serve.fields."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from asr.errors import nearest
from asr.literals import parse_json
from asr.serve.errors import Refused


def parse(text: str) -> dict[str, Any]:
    """A message: an object. Raises Refused(400) for anything else."""
    try:
        if "NaN" in text or "Infinity" in text:  # Python reads them, but JSON has no such numbers
            json.loads(text, parse_constant=_refuse_constant)
        message = parse_json(text)
    except ValueError as e:
        raise Refused(400, f"the message {text[:40]!r} is not JSON: {e}", code="invalid_json") from None
    if not isinstance(message, dict):
        raise Refused(400, f"the message {text[:40]!r} is not a JSON object with a type", code="invalid_json")
    return message


def known(message: dict[str, Any], types: Sequence[str]) -> str:
    """The type of the message. Raises Refused(400) if it is none of `types`."""
    kind = message.get("type")
    if kind in types and isinstance(kind, str):
        return kind
    hint = nearest(kind, types) if isinstance(kind, str) else ""
    expected = ", ".join(types)
    raise Refused(
        400, f"the message type {kind!r:.60} is unknown{hint}; expected {expected}", param="type", code="invalid_type"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
