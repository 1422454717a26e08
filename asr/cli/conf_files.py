"""The yaml files that a command line chooses: the options that they set, and their errors.

They are checked one by one before Hydra composes them, so that an error names its file.
"""

import re
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from asr import bounds
from asr.cli.options import all_options
from asr.config import Config
from asr.errors import InputError, nearest

_PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
MOST_VALUES = 10_000  # of a file: aliases in aliases would take any time and memory
Groups = Mapping[str, Mapping[str, Path]]  # group -> {choice: its file}


def expected(word: str, choices: Iterator[str] | Mapping[str, Any] | tuple[str, ...]) -> str:
    """The allowed values, and the one closest to `word`."""
    names = list(choices)
    return f"expected one of {', '.join(names)}{nearest(word, names)}"


def settings(group: str, path: Path) -> dict[str, Any]:
    """The options that a file sets, by full name; empty if the file cannot be read."""
    try:
        return dict(_leaves(_placed(group, path)[0]))
    except InputError:
        return {}


def check(group: str, choice: str, groups: Groups) -> None:
    """Raises InputError naming the file for anything in it that is not a known option, value or choice."""
    if choice not in groups[group]:
        raise InputError(f"{group}={choice}: {expected(choice, groups[group])}")
    path = groups[group][choice]
    placed, defaults = _placed(group, path)
    for entry in defaults:
        _check_default(entry, group, path, groups)
    if unknown := next((name for name, _ in _leaves(placed) if name not in all_options()), None):
        if unknown in groups:
            raise InputError(
                f"{path}: '{unknown}' is a group; choose it under defaults, as '- override /{unknown}: NAME'"
            )
        raise InputError(f"{path}: there is no option '{unknown}'{nearest(unknown, all_options())}")
    _check_values(placed, path)


def _placed(group: str, path: Path) -> tuple[dict[str, Any], list[Any]]:
    """(the file's values below the root, its defaults list)."""
    package, data = _read(path, group)
    if group == "experiment" and package != "_global_":
        raise InputError(f"{path}: the first line of an experiment file must be '# @package _global_'")
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected lines of 'option: value'")
    defaults = data.pop("defaults", None) or []
    parts = [] if package == "_global_" else (group if package == "_group_" else package).split(".")
    for part in reversed(parts):
        data = {part: data}
    return data, defaults if isinstance(defaults, list) else [defaults]


def _read(path: Path, group: str) -> tuple[str, Any]:
    """(the package in the file's header, its contents)."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
        if _expanded(yaml.compose(text, yaml.SafeLoader), {}) > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES} values")
        data = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise InputError(f"{path}, line {line}: {e.problem}; correct the yaml") from None
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError, LookupError, AssertionError) as e:
        raise InputError(f"{path} cannot be read ({' '.join(str(e).split())}); correct the yaml") from None
    header = (line for line in text.splitlines() if line.startswith("#"))
    package = next((match[1] for line in header if (match := _PACKAGE.match(line))), group)
    return package, data


def _expanded(node: Any, known: dict[int, int]) -> int:
    """The number of values below a yaml node, where every alias counts as what it stands for."""
    children = getattr(node, "value", None)
    if not isinstance(children, list):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES  # if the node holds itself
        parts = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    groups = {option.group for option in all_options().values()}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name in groups:
            yield from _leaves(value, f"{name}.")
        elif not name.startswith("hydra"):
            yield name, value


def _check_default(entry: Any, group: str, path: Path, groups: Groups) -> None:
    """An entry of a defaults list: `_self_`, a file of the same group, or {`override /group`: choice}."""
    pairs = entry.items() if isinstance(entry, dict) else [(f"/{group}", entry)]
    for key, choice in pairs:
        name = str(key).rpartition(" ")[2].partition("@")[0]
        if choice is None or choice == "_self_" or isinstance(choice, list) or name.startswith("/hydra/"):
            continue
        if name.lstrip("/") not in groups:
            raise InputError(f"{path}: there is no group '{name.lstrip('/')}'{nearest(name.lstrip('/'), groups)}")
        if not name.startswith("/"):
            raise InputError(f"{path}: the group '{name}' needs a slash before it: 'override /{name}: {choice}'")
        if name[1:] not in groups or not isinstance(choice, str):
            raise InputError(f"{path}: the default '{key}: {choice}' is not 'override /GROUP: CHOICE'; correct it")
        if choice not in groups[name[1:]]:
            raise InputError(f"{path}: {name[1:]}={choice}: {expected(str(choice), groups[name[1:]])}")


def _check_values(placed: dict[str, Any], path: Path) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.merge(_schema(), {k: v for k, v in placed.items() if k != "hydra"})
    except OmegaConfBaseException as e:
        raise InputError(f"{path}: {complaint(e)}") from None
    for name, value in _leaves(placed):
        choices = all_options()[name].choices
        if choices and value not in choices and "${" not in str(value):
            raise InputError(f"{path}: {name}={value}: {expected(str(value), choices)}")


@cache
def _schema() -> Any:
    """Every option with its type, which merging only copies."""
    from omegaconf import OmegaConf

    return OmegaConf.structured(Config)


def complaint(error: Any) -> str:
    """An OmegaConf exception as a clause that names the option, the value given and the values expected."""
    from omegaconf.errors import ValidationError

    name = str(error.full_key or "").partition("[")[0]
    if not name:
        return str(error).splitlines()[0]
    if name not in all_options():
        return f"there is no option '{name}'{nearest(name, all_options())}"
    if isinstance(error, ValidationError):
        option, given = all_options()[name], "null" if error.value is None else error.value
        is_item = error.full_key != name
        kind = typing.get_args(option.type)[0] if is_item else option.type
        wanted = bounds.complaint(error.value, kind, option.within) or f"expected {option.type_name}"
        return f"{error.full_key}={given}: {wanted}"
    return f"{name}: {str(error).splitlines()[0]}"
