"""What `asr --help` and `asr VERB --help` print, read off the verbs' docstrings, `asr/config.py` and `conf/`."""

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

from asr.cli.options import Option, all_groups, all_options
from asr.cli.verbs import VERBS

OVERVIEW = """\
asr: speech recognition from a corpus to a served recogniser

usage: asr VERB [key=value ...] [group=choice ...] [file ...]

verbs
{verbs}

`asr VERB --help` lists what can be set; `asr completion bash|zsh|fish` prints a script for the shell;
`asr --version` prints the version.
"""

FLAGS = """\
flags
  -m, --multirun     run once for each combination of values: seed=1,2,3 model=cnn,lstm
  --config-dir DIR   also look for groups and experiments there: --config-dir recipes/digits experiment=digits
  --cfg              print the composed configuration and stop
"""


def overview() -> str:
    """One line a verb."""
    width = max(map(len, VERBS)) + 2
    lines = (f"  {name:{width}}{_doc(name)[0]}" for name in VERBS)
    return OVERVIEW.format(verbs="\n".join(lines))


def verb_help(names: list[str], config_dir: str | None) -> str:
    """Usage, groups with their choices, and options with types, defaults and meanings, of a verb or a family."""
    home = tuple(dict.fromkeys(group for name in names for group in VERBS[name].home))
    groups = all_groups(config_dir)
    others = sorted(set(groups) - set(home) - {"experiment"})
    parts = ["\n\n".join(_usage(name) for name in names), FLAGS, "groups: group=choice sets several options at once"]
    parts += [_group(group, groups[group]) for group in (*home, "experiment") if group in groups]
    parts += ["options: key=value (type) meaning; here the part before the dot may be left out"]
    own = [option for group in home for option in all_options().values() if option.name.startswith(f"{group}.")]
    general = [option for option in all_options().values() if "." not in option.name]
    parts += [_options(own), _options(general), f"further groups, shown by other verbs: {', '.join(others)}"]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _doc(name: str) -> tuple[str, str]:
    """The verb's summary line and the rest of its docstring."""
    summary, _, rest = (inspect.getdoc(VERBS[name].run) or "").partition("\n")
    return summary, rest.strip()


def _usage(name: str) -> str:
    summary, rest = _doc(name)
    return f"asr {name}: {summary}" + (f"\n\n{textwrap.indent(rest, '  ')}" if rest else "")


def _group(group: str, choices: dict[str, str]) -> str:
    width = max(map(len, choices)) + 2
    return "\n".join(f"  {group}={choice:{width}}{meaning}" for choice, meaning in choices.items())


def _options(options: Iterable[Option]) -> str:
    return "\n".join(f"  {f'{o.name}={_shown(o.default)}':38} ({o.type_name}) {o.meaning}" for o in options)


def _shown(default: Any) -> str:
    """A default as it would be typed."""
    if isinstance(default, list):
        return f"[{','.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else "null" if default is None else str(default)
