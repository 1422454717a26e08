"""The settings that shape the parameters. A run folder records them, and resuming compares them.

`train/config.json` holds them as JSON: the seed, whole groups, and the files of `FILES` with their SHA-256 under
`sha256`. Paths of files below the run folder are relative to it, others absolute, so that the folder can be moved.
Files are compared by content, not by path. Everything else may change: threads, device, resume points, caching, the
place of the folder, and all options of later verbs. (The last bits of a result may depend on threads, device and
caching.)
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from asr.config import Config, value_of
from asr.errors import InputError

GROUPS = ("features", "augment", "model", "criterion", "optim")
VALUES = ("seed", "tokens.unit", "data.max_audio_s")
FILES = ("data.train", "data.dev", "tokens.lexicon", "tokens.table")
EARLIER: dict[str, Any] = {"augment.silence_s": 0.0, "augment.gain_db": []}  # what older folders, without them, did
IGNORED = ("optim.checkpoint_steps",)  # how often a resume point is written


def settings(cfg: Config) -> dict[str, Any]:
    """The settings of a training as plain data, as in `train/config.json`."""
    found: dict[str, Any] = {name: dataclasses.asdict(getattr(cfg, name)) for name in GROUPS}
    values = {name: value_of(cfg, name) for name in VALUES}
    values |= {name: _stored_path(value_of(cfg, name), Path(cfg.out)) for name in FILES}
    for name, value in values.items():
        group, _, key = name.rpartition(".")
        (found.setdefault(group, {}) if group else found)[key] = value
    return found | {"sha256": {name: _sha256(value_of(cfg, name)) for name in FILES}}


def check_resumable(path: Path, cfg: Config) -> None:
    """Raises InputError if `path`, the `config.json` of an earlier start, has settings that `cfg` changes."""
    if not path.exists():
        return
    way_out = f"choose another folder with out=, or delete {path.parent}"
    try:
        old, new = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(settings(cfg)))
        changed = _changed_option(old, new)
        changed_file = next(
            (name for name in FILES if old.get("sha256", new["sha256"])[name] != new["sha256"][name]), None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path} is not what `asr train` writes ({e!r}); {way_out}") from e
    if changed:
        raise InputError(f"{path.parent} holds a training with {changed}; {way_out}, or repeat {changed} to resume it")
    if changed_file:
        raise InputError(
            f"{path.parent} holds a training with another {changed_file}: the content of "
            f"{value_of(cfg, changed_file)} has changed since; restore the file, {way_out}"
        )


def _changed_option(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The first option with another value, as `option=old value`. Options that `old` lacks had their
    default, or the value in `EARLIER`."""
    defaults = Config()
    names = [*VALUES, *(f"{group}.{key}" for group in GROUPS for key in new[group])]
    for name in names:
        group, _, key = name.rpartition(".")
        before = (old[group] if group else old).get(key, EARLIER.get(name, value_of(defaults, name)))
        if name not in IGNORED and before != (new[group] if group else new)[key]:
            return f"{name}={before}"
    return None


def _stored_path(path: str | None, folder: Path) -> str | None:
    if path is None:
        return None
    full, root = os.path.realpath(path), os.path.realpath(folder)
    return os.path.relpath(full, root) if full.startswith(root + os.sep) else full


def _sha256(path: str | None) -> str | None:
    """The digest of a file's content; None if it cannot be read, which the reader of the file reports."""
    if path is None or not os.path.isfile(path):
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
