"""Text messages of a socket: JSON objects with a `type`, checked field by field."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from asr.errors import nearest
from asr.literals import parse_json
from asr.serve.errors import Refused

Model = TypeVar("Model", bound=BaseModel)


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


def validate(model: type[Model], fields: dict[str, Any], where: str = "") -> Model:
    """The fields as a model. Raises Refused(400) naming the first wrong one; `where` precedes its name."""
    try:
        return model.model_validate(fields)
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False)[0]
        name = ".".join([where] * bool(where) + _path(first["loc"], fields, is_missing=first["type"] == "missing"))
        if first["type"] == "extra_forbidden":
            hint = nearest(str(first["loc"][-1]), model.model_fields)
            raise Refused(400, f"the field '{name}' is unknown{hint}", param=name, code="unknown_field") from None
        given = "" if first["type"] == "missing" else f", not {first['input']!r:.60}"
        reason = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise Refused(400, f"{name}: {reason}{given}", param=name, code="invalid_value") from None


def _path(loc: tuple[int | str, ...], fields: Any, is_missing: bool) -> list[str]:
    """The place of an error in the message, without the names of models that pydantic puts between."""
    path = []
    for number, part in enumerate(loc, 1):
        is_index = isinstance(fields, list) and isinstance(part, int)
        if is_index or isinstance(fields, dict) and part in fields:
            fields = fields[part]
        elif not (is_missing and number == len(loc)):
            continue
        path.append(str(part))
    return path


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
