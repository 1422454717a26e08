"""The options that each verb reads. Other options are refused.

A verb reads the options that it declares, and those that the values of these refer to: with
`graph.lexicon=${data.dir}/words.txt` the verb `graph` reads `data.dir`, and with `data.dir=${out}/data` also `out`.
"""

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from asr.cli.conf_files import Groups, expected, settings
from asr.cli.options import Option, all_groups, all_options, top_keys
from asr.cli.verbs import VERBS
from asr.declaration import REFERENCE
from asr.errors import InputError

NAMED = {"score": "name them with hyp=FILE and ref=FILE; "}  # of verbs without plain words: the options for files
References = Mapping[str, set[str]]  # option -> the options that its value refers to


@cache
def declared(verb: str) -> dict[str, Option]:
    """The options that a verb declares, in its order: an entry of `reads` is an option or a whole group."""
    options = dict(all_options())
    if formats := VERBS[verb].formats:
        options["format"] = dataclasses.replace(options["format"], choices=formats)
    names: list[str] = []
    for entry in VERBS[verb].reads:
        names += [entry] if entry in options else [name for name in options if name.startswith(f"{entry}.")]
    return {name: options[name] for name in names}


@cache
def own_options(verb: str) -> list[str]:
    """The options that a bare key can set for this verb. If two options share a key, it sets the first.

    A key that names a group, as `model` does, sets no option.
    """
    groups = all_groups()
    keys: dict[str, str] = {}
    for name, option in declared(verb).items():
        if option.key not in groups:
            keys.setdefault(option.key, name)
    return list(keys.values())


def spelling(verb: str, option: Option) -> str:
    """How an option is written for a verb: its bare key if that sets it, otherwise its full name."""
    return option.key if option.name in own_options(verb) else option.name


def groups_of(verb: str, groups: Groups) -> Groups:
    """The choices that set an option of the verb, and the experiments. Reads only top-level keys, enough for help."""
    own = declared(verb)
    found = {
        group: {
            choice: path
            for choice, path in choices.items()
            if group == "experiment" or any(f"{group}.{key}" in own for key in top_keys(path))
        }
        for group, choices in groups.items()
    }
    return {group: choices for group, choices in found.items() if choices}


@cache
def default_references() -> dict[str, set[str]]:
    return {name: found for name, option in all_options().items() if (found := references_in(option.default))}


def references_in(value: Any) -> set[str]:
    """The names in `${...}` within a value or the items of a list."""
    items = value if isinstance(value, list) else [value]
    return {name for item in items if isinstance(item, str) for name in REFERENCE.findall(item)}


def read_by(verb: str, references: References) -> set[str]:
    """The options that influence a verb: the declared ones and those that they refer to, directly or through others.

    References in default values count even if another value was given, so that all verbs of a run accept `out`.
    """
    defaults = default_references()
    found: set[str] = set()
    new = set(declared(verb))
    while new:
        found |= new
        new = {name for option in new for name in references.get(option, set()) | defaults.get(option, set())} - found
    return found


def readers(option: str) -> str:
    """The verbs that read an option, as `decode, tune and bundle`."""
    names = [f"`asr {verb}`" for verb in VERBS if option in read_by(verb, {})]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def check_groups(verb: str, words: Iterable[str], groups: Groups) -> None:
    """Raises InputError for `GROUP=VALUE` if there is no such choice, and the verb does not read the group, but a
    bundle or an option of its own group is meant, as `g2p.model` by `asr g2p apply model=FILE`."""
    start = f"{verb.split()[0]}."
    own = {option.key: option.name for option in declared(verb).values() if option.name.startswith(start)}
    unread = groups.keys() - groups_of(verb, groups).keys() - all_options().keys()
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or key not in unread or value in groups[key]:
            continue
        if key in own:
            raise InputError(f"`asr {verb}` has no choice {word}; its option is written {own[key]}={value}")
        if VERBS[verb].takes_bundle and value.endswith(".asr"):
            raise InputError(f"`asr {verb}` has no choice {word}; name the bundle without a key: asr {verb} {value}")


def check(verb: str, overrides: Sequence[str], references: References, groups: Groups) -> None:
    """Raises InputError for an override of an option that the verb does not read; group choices get a warning.

    Choices of experiments give no warning, because they set options for all verbs.
    """
    read = read_by(verb, references)
    for override in overrides:
        key, value = split(override)
        if key in groups and key != "experiment":
            unread = sorted(settings(key, groups[key][value]).keys() - read) if value in groups[key] else []
            if unread:
                print(f"asr: warning: {key}={value} sets {', '.join(unread)}, which `asr {verb}` does not read",
                      file=sys.stderr)  # fmt: skip
        elif key == "input" and key not in read:
            has_bundle = any(split(other)[0] == "bundle" for other in overrides)
            known = "" if has_bundle or not VERBS[verb].takes_bundle else "name a bundle *.asr or a run folder; "
            known = NAMED.get(verb, known)
            given = value.strip("[]")
            raise InputError(f"`asr {verb}` takes no files, but was given {given}; {known}options are key=value")
        elif key in all_options() and key not in read:
            raise InputError(f"`asr {verb}` does not read {key}; it is an option of {readers(key)}")


def check_format(verb: str, overrides: Sequence[str]) -> None:
    """Raises InputError for a `format` that no verb has, naming those of this one. Formats of other verbs are left to
    the verb, which says more."""
    for key, quoted in map(split, overrides):
        value = quoted.strip("'\"")  # which Hydra takes off
        if key == "format" and value not in all_options()[key].choices and "$" not in value:
            raise InputError(f"{key}={value}: {expected(value, declared(verb)[key].choices)}")


def is_read(override: str, verbs: Sequence[str], references: References, groups: Groups) -> bool:
    """Whether one of the verbs reads the option, or an option that the group choice sets."""
    key, value = split(override)
    read = set().union(*(read_by(verb, references) for verb in verbs))
    if key in groups and key != "experiment":
        return bool(value in groups[key] and settings(key, groups[key][value]).keys() & read)
    return key not in all_options() or key in read


def split(override: str) -> tuple[str, str]:
    """(full key, value) of an override."""
    key, _, value = override.partition("=")
    return key.lstrip("+"), value
