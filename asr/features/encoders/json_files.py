"""The JSON files that describe a model."""

import json
from pathlib import Path
from typing import Any

from asr.errors import InputError


def read_json(path: Path) -> dict[str, Any]:
    """Raises InputError for a file that cannot be read or holds no object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"cannot read {path}: {e}; copy or download the folder of the model again") from e
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a description of a model; copy or download the folder of the model again")
    return found
