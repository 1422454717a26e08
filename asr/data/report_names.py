"""Names of the reports of `asr data check`: no report replaces that of another manifest."""

from collections.abc import Sequence
from pathlib import Path

from asr.errors import InputError
from asr.files import fold
from asr.literals import parse_json


def report_names(manifests: Sequence[str | Path], folder: str | Path) -> list[str]:
    """A name per manifest for its reports in `folder`: the file name without suffix if that is free, otherwise with as
    many folders in front as are needed, such as `a-train` and `b-train`.

    A name is free if no other manifest has it, in any case and Unicode form, and no report in `folder` that was made
    from another manifest. Raises InputError if a manifest is named twice.
    """
    paths = [Path(path).resolve() for path in manifests]
    if twice := next((path for i, path in enumerate(paths) if path in paths[:i]), None):
        raise InputError(f"{twice} is named twice; name each manifest once")
    depths = [1] * len(paths)
    while True:
        names = [_name(path, depth) for path, depth in zip(paths, depths, strict=True)]
        plain = [fold(name) for name in names]
        taken = [
            i
            for i, path in enumerate(paths)
            if plain.count(plain[i]) > 1 or _made_from(Path(folder) / f"{names[i]}.report.json", path) != path
        ]
        longer = [i for i in taken if depths[i] < len(paths[i].parts) - 1]
        if not longer:
            return _numbered(names)
        for i in longer:
            depths[i] += 1


def _numbered(names: list[str]) -> list[str]:
    """Numbers the names that are equal in spite of all their folders, such as those of `a.json` and `a.jsonl`."""
    for k, name in enumerate(names):
        number = 1
        while fold(names[k]) in map(fold, names[:k]):
            number += 1
            names[k] = f"{name}-{number}"
    return names


def _name(path: Path, depth: int) -> str:
    return "-".join(path.with_suffix("").parts[1:][-depth:])


def _made_from(report: Path, default: Path) -> Path:
    """The manifest behind an earlier report; `default` if there is no readable report."""
    try:
        return Path(parse_json(report.read_text(encoding="utf-8"))["manifest"]).resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return default
