"""The settings that shape the parameters. A run folder records them, and resuming compares them.

`train/config.json` holds them as JSON: the seed, whole groups, and the files of `FILES` with their SHA-256 under
`sha256`. Paths of files below the run folder are relative to it, others absolute, so that the folder can be moved.
Files are compared by content, not by path, and noise and rooms with their recordings.
`train/inputs.json` holds the digests of the recordings or stored features; a file is read again only if it may have
changed.

Everything else may change: threads, device, resume points, caching, the place of the folder, and all options of later
verbs. (The last bits of a result may depend on threads, device and caching.)
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.config import Config, value_of
from asr.data.scenes.sounds import digest_of_sounds
from asr.errors import InputError
from asr.files import atomic_write
from asr.fingerprints import digest, digest_of_input, part_of, stamp
from asr.literals import parse_json
from asr.manifest import Utterance
from asr.members import member_of

GROUPS = ("features", "augment", "model", "criterion", "optim")
VALUES = ("seed", "tokens.unit", "data.max_audio_s", "data.channel", "data.replay_share")
FILES = ("data.train", "data.dev", "data.replay", "data.general_dev", "tokens.lexicon", "tokens.table", "init",
         "criterion.alignments", "augment.noise_files", "augment.room_files")  # fmt: skip
MANIFESTS = FILES[:4]
SOUNDS = FILES[-2:]
FOUND = ("data.test",)  # not read by the training, but recorded for later verbs
TABLE = "tokens.txt"  # the net's outputs, in the order that it was trained with
EARLIER: dict[str, Any] = {"augment.silence_s": 0.0, "augment.gain_db": []}  # what older folders, without them, did
IGNORED = ("optim.checkpoint_steps", "optim.shards", "optim.sharded", "optim.cuda_graphs")  # shards: in resume points


def settings(cfg: Config, groups: Sequence[str] = GROUPS) -> dict[str, Any]:
    """The settings of a training as plain data, as in `train/config.json`."""
    found: dict[str, Any] = {name: dataclasses.asdict(getattr(cfg, name)) for name in groups}
    values = {name: value_of(cfg, name) for name in VALUES}
    values |= {name: stored_path(value_of(cfg, name), Path(cfg.out)) for name in (*FILES, *FOUND)}
    for name, value in values.items():
        group, _, key = name.rpartition(".")
        (found.setdefault(group, {}) if group else found)[key] = value
    if (own := stored_path(cfg.features.encoder, Path(cfg.out))) and not os.path.isabs(own):  # of `init`
        found["features"]["encoder"] = own
    digests = {name: (digest_of_sounds if name in SOUNDS else digest)(value_of(cfg, name)) for name in FILES}
    return found | {"sha256": digests | {TABLE: digest(Path(cfg.out) / "train" / TABLE)}}


def check_resumable(
    path: Path,
    cfg: Config,
    groups: Sequence[str] = GROUPS,
    values: Sequence[str] = VALUES,
    files: Sequence[str] = FILES,
) -> None:
    """Raises InputError if `path`, the `config.json` of an earlier start, has settings that `cfg` changes: of these
    `groups`, `values` and `files`."""
    if not path.exists():
        return
    way_out = f"choose another folder with out=, or delete {path.parent}"
    try:
        old, new = parse_json(path.read_text(encoding="utf-8")), json.loads(json.dumps(settings(cfg, groups)))
        changed, unknown = _changed_option(old, new, groups, values), _unknown_option(old, new, groups)
        before, now = old.get("sha256", new["sha256"]), new["sha256"]
        file = next((name for name in files if before.get(name) != now[name]), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path} is not what `asr train` writes ({e!r}); {way_out}") from e
    if unknown:
        raise InputError(f"{path.parent} holds a training with the option {unknown}, which this version does not know; "
                         f"use the version that began it, {way_out}")  # fmt: skip
    if changed:
        raise InputError(f"{path.parent} holds a training with {changed}; {way_out}, or repeat {changed} to resume it")
    if file and (before.get(file) is None or value_of(cfg, file) is None):
        has = "without" if before.get(file) is None else "with"
        raise InputError(f"{path.parent} holds a training {has} {file}; {way_out}, or resume it {has} {file}")
    if file:
        raise InputError(
            f"{path.parent} holds a training with another {file}: the content of "
            f"{value_of(cfg, file)} has changed since; restore the file, {way_out}"
        )


def _changed_option(
    old: dict[str, Any], new: dict[str, Any], groups: Sequence[str], values: Sequence[str]
) -> str | None:
    """The first option with another value, as `option=old value`. Options that `old` lacks had their
    default, or the value in `EARLIER`. Those of `FILES` are compared by content, elsewhere."""
    defaults = Config()
    names = [*values, *(f"{group}.{key}" for group in groups for key in new[group])]
    for name in names:
        group, _, key = name.rpartition(".")
        before = (old[group] if group else old).get(key, EARLIER.get(name, value_of(defaults, name)))
        if name not in (*IGNORED, *FILES) and before != (new[group] if group else new)[key]:
            return f"{name}={before}"
    return None


def _unknown_option(old: dict[str, Any], new: dict[str, Any], groups: Sequence[str]) -> str | None:
    return next((f"{group}.{key}" for group in groups for key in old[group] if key not in new[group]), None)


def check_table(folder: Path) -> None:
    """Raises InputError if the token table in the folder of a training is not the one that the net was trained with."""
    try:
        trained = parse_json((folder / "config.json").read_text(encoding="utf-8"))["sha256"][TABLE]
    except (OSError, ValueError, KeyError, TypeError):  # a new folder, one of an earlier version, or reported elsewhere
        return
    if (now := digest(folder / TABLE)) and trained and now != trained:
        raise InputError(f"{folder / TABLE} has changed since the training began, but its order is that of the net's "
                         f"outputs; restore it, or train again in another folder with out=")  # fmt: skip


def stored_path(path: str | None, folder: Path) -> str | None:
    """How a run folder records a path: relative to the folder if it lies below, otherwise absolute."""
    if path is None:
        return None
    full, root = os.path.realpath(path), os.path.realpath(folder)
    return os.path.relpath(full, root) if full.startswith(root + os.sep) else full


def inputs_of(cfg: Config) -> list[str | None]:
    """The files that a training reads, apart from its recordings."""
    return [value_of(cfg, name) for name in FILES]


def check_inputs(path: Path, folder: Path, utterances: Sequence[Utterance], is_done: bool) -> None:
    """Records the digests of the files of `utterances` in `path`, or compares them with those of an earlier start.

    The utterances are those of the same manifests as before. Raises InputError naming the files that have changed; for
    a training that is done (`is_done`), missing files are not missed.
    """
    files = list(dict.fromkeys(_recorded(u.audio or u.features or "") for u in utterances))
    before = _read_inputs(path, len(files))
    now: list[dict[str, Any]] = []
    changed, first = 0, ""
    for file, old in zip(tqdm(files, "fingerprints", unit="file", delay=2.0, leave=False), before, strict=True):
        found = stamp(part_of(file)[0])
        if old and found and old.get("stamp") == list(found):
            sha256 = old.get("sha256")
        else:
            sha256 = digest_of_input(file)
        if old and old.get("sha256") != sha256 and (sha256 or not is_done):
            changed, first = changed + 1, first or f"{file}{'' if sha256 else ' (it cannot be read now)'}"
        now.append({"file": stored_path(file, folder), "stamp": found, "sha256": sha256})
    if changed:
        others = f" and {changed - 1} other files" if changed > 1 else ""
        raise InputError(
            f"{path.parent} holds a training on other recordings: the content of {first}{others} has changed since; "
            f"restore {'them' if others else 'it'}, choose another folder with out=, or delete {path.parent}"
        )
    if not is_done:
        with atomic_write(path) as out:
            json.dump(now, out, indent=0, ensure_ascii=False)


def _recorded(path: str) -> str:
    """The file whose content is recorded: of a member of a shard, the shard, which has thousands."""
    member = member_of(path)
    return member.file if member else path


def _read_inputs(path: Path, count: int) -> list[dict[str, Any] | None]:
    """The records of an earlier start, one per file; None each if there are none."""
    if not path.exists():
        return [None] * count
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{path} is not what `asr train` writes for these manifests; choose another folder with out=, "
                         f"or delete {path.parent}")  # fmt: skip
    return found
