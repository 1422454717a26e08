"""Which manifest the hypotheses in a folder belong to, so that those of another set of equal name are neither
overwritten nor scored.

`source.json` next to `hyp.jsonl` holds the path of the manifest, relative if it lies below the run folder, and the
digest of its content.
"""

import json
import os
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.fingerprints import digest
from asr.literals import parse_json


def check(hypotheses: Path, source: str, way_out: str) -> None:
    """Raises InputError with a `way_out` if `hypotheses` are those of another manifest than `source`: other path and
    other content."""
    path = _record(hypotheses)
    if not hypotheses.exists() or not path.exists():
        return
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        before, sha256 = os.path.normpath(path.parent / found["manifest"]), found["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} is not what `asr decode` writes ({e!r}); delete {path.parent}") from e
    if os.path.realpath(before) != os.path.realpath(source) and sha256 != digest(source):
        raise InputError(f"{hypotheses} holds the hypotheses of {before}; {way_out}")


def record(hypotheses: Path, source: str) -> None:
    folder, path = os.path.realpath(hypotheses.parent), os.path.realpath(source)
    run = os.path.dirname(os.path.dirname(folder))
    stored = os.path.relpath(path, folder) if path.startswith(run + os.sep) else path
    with atomic_write(_record(hypotheses)) as file:
        json.dump({"manifest": stored, "sha256": digest(source)}, file, indent=1)


def _record(hypotheses: Path) -> Path:
    return hypotheses.parent / "source.json"
