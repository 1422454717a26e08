"""The JSON files that describe a model."""

from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.literals import parse_json


def read_json(path: Path) -> dict[str, Any]:
    """Raises InputError for a file that cannot be read or holds no object."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}; copy or download the folder of the model again") from e
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a description of a model; copy or download the folder of the model again")
    return found
