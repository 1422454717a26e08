"""The options of `asr/config.py` and the choices of each group in `conf/`. Imports nothing heavy,
because help and shell completion read it on every key press.
"""

import re
import types
import typing
from dataclasses import MISSING, dataclass
from functools import cache
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from asr import config


@dataclass(frozen=True)
class Option:
    """One `key=value`. `choices` is empty if any value of the type is allowed."""

    name: str  # full, dotted: "optim.lr"
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    within: str = ""  # the interval of a number

    @property
    def key(self) -> str:
        """The name without its group: "lr"."""
        return self.name.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The part before the dot; empty for options of the root."""
        return self.name.rpartition(".")[0]

    @property
    def type_name(self) -> str:
        """The type as help and messages show it: `float`, `list[str]`, `str | null`."""
        if isinstance(self.type, types.UnionType):
            names = [_simple_name(t) for t in typing.get_args(self.type)]
            return " | ".join(names)
        return _simple_name(self.type)

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.type) is list

    @property
    def is_text(self) -> bool:
        """Whether its values, or the values in its list, are strings."""
        return str in (self.type, *typing.get_args(self.type))


def _simple_name(kind: Any) -> str:
    if kind is type(None):
        return "null"
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


@cache
def all_options() -> dict[str, Option]:
    """Every option of the root `Config` by its full name."""
    found = {}
    for name, f in config.option_fields():
        default = f.default if f.default_factory is MISSING else f.default_factory()
        found[name] = Option(name, f.type, default, f.metadata["help"], f.metadata["choices"], f.metadata["within"])
    return found


def conf_dir() -> Path:
    """The folder of the yaml groups: the package `asr.conf` in a wheel, `conf/` next to `asr/` in a source tree."""
    package = Path(config.__file__).parent
    return next(d for d in (package / "conf", package.parent / "conf") if (d / "config.yaml").is_file())


def all_groups(config_dir: str | None = None) -> dict[str, dict[str, Path]]:
    """group -> {choice: its file}, from `conf/` and the folder given as --config-dir, searched in this order."""
    found: dict[str, dict[str, Path]] = {}
    for root in [conf_dir(), *([Path(config_dir)] if config_dir else [])]:
        for path in sorted(root.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {}).setdefault(path.stem, path)
    return found


def top_keys(path: Path) -> list[str]:
    """The top-level keys of a yaml file, without a parser."""
    return re.findall(r"^(\w+):", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)


def first_comment(path: Path) -> str:
    """The first comment of a yaml file, of one or more lines, which describes it in help."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    commented = dropwhile(lambda line: not line.startswith("#") or "@package" in line, lines)
    return " ".join(line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), commented))
