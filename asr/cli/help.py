"""What `asr --help` and `asr VERB --help` print, made from the verbs' docstrings, `asr/config.py` and `conf/`."""

import inspect
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from asr.cli.options import Option, all_groups, first_comment
from asr.cli.reads import declared, groups_of, spelling
from asr.cli.verbs import VERBS

OVERVIEW = """\
asr: speech recognition from a corpus to a recogniser

usage: asr VERB [key=value ...] [group=choice ...] [file ...]

verbs
{verbs}

`asr VERB --help` lists the options that the verb reads; others are refused. The verb's own options may be written
with their bare key (`asr lm train order=4`). The full name always works (`lm.order=4`).
`asr completion bash|zsh|fish` prints a script for the shell; `asr --version` prints the version.
"""

FLAGS = """\
flags
  -m, --multirun     run once for each combination of values: seed=1,2,3 model=cnn,lstm
  --config-dir DIR   also look for groups and experiments there: --config-dir recipes/digits experiment=digits
  --microphone       hear the microphone (asr transcribe)
  --cfg              print the composed configuration as YAML and stop
"""

OPTIONS = """\
options: key=value (type) help
  The full name of an option also works: lm.order=4."""


def overview() -> str:
    lines = [f"  {name:21} {_doc(name)[0]}" for name in VERBS]
    return OVERVIEW.format(verbs="\n".join(lines))


def verb_help(names: list[str], config_dir: str | None) -> str:
    """Usage, groups with their choices, and the options that a verb reads; for a family of verbs only the usage."""
    usage = "\n\n".join(_usage(name) for name in names)
    if len(names) > 1:
        return f"{usage}\n\n{FLAGS}\n`asr {names[0]} --help` lists the options of one verb.\n"
    verb = names[0]
    groups = groups_of(verb, all_groups(config_dir))
    by_group: dict[str, list[Option]] = {}
    for option in declared(verb).values():
        by_group.setdefault(option.group, []).append(option)
    parts = [usage, FLAGS, "groups: group=choice sets several options at once"]
    parts += [explained(group, groups[group]) for group in dict.fromkeys([*by_group, "experiment"]) if group in groups]
    parts += [OPTIONS, *(_options(verb, options) for options in by_group.values())]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _doc(name: str) -> tuple[str, str]:
    """The verb's summary line and the rest of its docstring."""
    summary, _, rest = (inspect.getdoc(VERBS[name].run) or "").partition("\n")
    return summary, rest.strip()


def _usage(name: str) -> str:
    summary, rest = _doc(name)
    return f"asr {name}: {summary}" + (f"\n\n{textwrap.indent(rest, '  ')}" if rest else "")


def explained(group: str, choices: Mapping[str, Path]) -> str:
    """One paragraph for each choice of a group: how it is written, and the first comment of its file."""
    width = max(map(len, choices)) + 2
    indent = " " * (len(group) + width + 3)
    lines = (f"  {group}={choice:{width}}{first_comment(path)}" for choice, path in choices.items())
    return "\n".join(textwrap.fill(line, 120, subsequent_indent=indent, break_on_hyphens=False) for line in lines)


def _options(verb: str, options: Iterable[Option]) -> str:
    lines = (f"  {f'{spelling(verb, o)}={_shown(o.default)}':38} ({_values(o)}) {o.help}" for o in options)
    return "\n".join(textwrap.fill(line, 120, subsequent_indent=" " * 41, break_on_hyphens=False) for line in lines)


def _values(option: Option) -> str:
    kind = "|".join(option.choices) or option.type_name
    return f"{kind} in {option.within}" if option.within else kind


def _shown(default: Any) -> str:
    """A default as a user would type it."""
    if isinstance(default, list):
        return f"[{','.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else "null" if default is None else str(default)
