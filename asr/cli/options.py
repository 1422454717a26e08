"""What can be set: the options of `asr/config.py` and the choices of each group in `conf/`. Imports nothing heavy,
because help and shell completion read it on every key press.
"""

import ast
import dataclasses
import inspect
import io
import re
import tokenize
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from asr import config

_CHOICES = re.compile(r"(\w+(?: \| \w+)+)(?:: (.*))?")  # "fc | cnn | lstm" or "cpu | cuda: where it runs"


@dataclass(frozen=True)
class Option:
    """One `key=value`. `choices` is empty where any value of the type will do."""

    name: str  # dotted, as typed: "optim.lr"
    type: Any
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def type_name(self) -> str:
        """The type as a reader of the command line knows it: `float`, `list[str]`, `str | null`."""
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
    """Every option of the root `Config` by its dotted name; the comment behind a field is its meaning."""
    comments = _field_comments()
    found: dict[str, Option] = {}

    def visit(cls: type, prefix: str) -> None:
        for f in dataclasses.fields(cls):
            name = prefix + f.name
            if dataclasses.is_dataclass(f.type):
                visit(typing.cast(type, f.type), f"{name}.")
            elif name != "experiment":  # a group without options of its own
                default = f.default_factory() if callable(f.default_factory) else f.default
                comment = comments.get((cls.__name__, f.name), "")
                match = _CHOICES.fullmatch(comment)
                choices = tuple(match[1].split(" | ")) if match else ()
                found[name] = Option(name, f.type, default, comment, choices)

    visit(config.Config, "")
    return found


def _field_comments() -> dict[tuple[str, str], str]:
    """(class, field) -> the comment on the field's line."""
    source = inspect.getsource(config)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    by_line = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return {
        (node.name, ast.unparse(field.target)): by_line.get(field.end_lineno or field.lineno, "")
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    }


def conf_dir() -> Path:
    """The folder of the yaml groups: the package `asr.conf` in a wheel, `conf/` beside `asr/` in a source tree."""
    package = Path(config.__file__).parent
    return next(d for d in (package / "conf", package.parent / "conf") if (d / "config.yaml").is_file())


def all_groups(config_dir: str | None = None) -> dict[str, dict[str, str]]:
    """group -> {choice: its first comment}, from `conf/` and the folder given as --config-dir."""
    found: dict[str, dict[str, str]] = {}
    for root in [conf_dir(), *([Path(config_dir)] if config_dir else [])]:
        for path in sorted(root.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {})[path.stem] = _first_comment(path)
    return found


def _first_comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    comments = (line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line)
    return next(comments, "")
