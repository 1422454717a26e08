"""From the words of a command line to one checked `Config`, composed by Hydra from `conf/`.

Words with `=` are overrides, others are files. A bare key is looked up in the verb's own options, so that
`asr lm train order=4` sets `lm.order`. An error names the option or file, and the closest name that exists.
"""

import copy
import importlib
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from asr.cli import conf_files, reads
from asr.cli.options import Option, all_groups, all_options, conf_dir
from asr.cli.unknown import unknown_option
from asr.cli.verbs import VERBS
from asr.config import Config, check_choices
from asr.errors import InputError, missing, nearest

_PLAIN = re.compile(r"(?!(?:true|false|nan|inf)$)[A-Za-z_./][\w./+-]*", re.ASCII | re.IGNORECASE)
_PLUGINS = {  # of Hydra, by the choice that needs them
    "hydra/launcher=joblib": "hydra-joblib-launcher",
    "hydra/launcher=submitit_local": "hydra-submitit-launcher",
    "hydra/launcher=submitit_slurm": "hydra-submitit-launcher",
    "hydra/sweeper=optuna": "hydra-optuna-sweeper",
}
_OVERRIDE = re.compile(r"\+{0,2}((?:hydra/)?[^=/]+)=(.*)", re.DOTALL)


def is_override(word: str) -> bool:
    """Whether a word is `key=value`. A word with `=` after a slash is a file: `exp/seed=1/model.asr`."""
    return _OVERRIDE.fullmatch(word) is not None


def to_overrides(words: Sequence[str], own: Sequence[str], config_dir: str | None, sweep: bool = False) -> list[str]:
    """Words of the command line -> overrides in Hydra's grammar with full keys; plain words become `input`.

    `own`: the options that a bare key may mean; the first that ends in it. Raises InputError for unknown keys and
    choices, and for an error in a chosen yaml file.
    """
    if config_dir and not Path(config_dir).is_dir():
        raise InputError(f"--config-dir {config_dir} is not a folder; it should hold experiment/NAME.yaml")
    groups = all_groups(config_dir)
    overrides, files = [], []
    for word in words:
        match = _OVERRIDE.fullmatch(word)
        if match:
            overrides.append(_resolve(match[1], match[2], own, groups, sweep))
        else:
            files.append(_quoted(word))
    if files:
        overrides.append(f"input=[{','.join(files)}]")
    if config_dir:
        overrides.append(f"hydra.searchpath=[{_quoted('file://' + str(Path(config_dir).resolve()))}]")
    return overrides


def _resolve(key: str, value: str, own: Sequence[str], groups: conf_files.Groups, sweep: bool) -> str:
    options = all_options()
    if key.startswith(("hydra/", "hydra.")):
        _check_plugin(f"{key}={value}")
        return f"{key}={value}"
    if key in groups:
        for choice in value.split(",") if sweep else [value]:
            conf_files.check(key, choice, groups)
        return f"{key}={value}"
    name = key if key in options else next((name for name in own if options[name].key == key), None)
    if name is None:
        if others := [f"'{o.name}' of {reads.readers(o.name)}" for o in options.values() if o.key == key]:
            raise InputError(f"'{key}' is not an option of this verb; there is {' and '.join(others)}")
        raise unknown_option(key, value, own, groups)
    return f"{name}={_value(options[name], value, sweep)}"


def _check_plugin(choice: str) -> None:
    """Raises InputError if a launcher or sweeper is not installed."""
    if package := _PLUGINS.get(choice):
        try:
            importlib.import_module(f"hydra_plugins.{package.replace('-', '_')}")
        except ModuleNotFoundError:
            raise InputError(missing("sweep", choice, package)) from None


def _value(option: Option, value: str, sweep: bool) -> str:
    """`value` in Hydra's grammar: special characters are quoted, and the items of a list get brackets."""
    if option.is_list and not value.startswith("["):
        items = _items(option, value)
        return ",".join(f"[{item}]" for item in items) if sweep else f"[{','.join(items)}]"
    if option.is_list and not sweep:
        return f"[{','.join(_items(option, value[1:].removesuffix(']')))}]"
    return ",".join(_items(option, value)) if sweep else _item(option, value)


def _items(option: Option, value: str) -> list[str]:
    has_own_commas = any(c in value for c in "'\"([{")
    return [value] if has_own_commas else [_item(option, item.strip()) for item in value.split(",") if item]


def _item(option: Option, value: str) -> str:
    is_plain = not option.is_text or value == "null" or value[:1] in ("'", '"') or _PLAIN.fullmatch(value)
    return value if is_plain else _quoted(value)


def _quoted(text: str) -> str:
    """`text` in single quotes. Backslashes are doubled only before a quote, as Hydra expects."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def compose(overrides: Sequence[str]) -> Config:
    """The `Config` of one run. Raises InputError naming the option, the expected type and the given value."""
    return to_config(compose_node(overrides))


def compose_node(overrides: Sequence[str]) -> Any:
    """The same as OmegaConf's node, with references such as `${out}` unresolved."""
    given = _parsed(overrides)
    if several := next((parsed for parsed in given if parsed.is_sweep_override()), None):
        raise InputError(f"{several.input_line} gives several values; add -m to run once with each")
    choices = [parsed for parsed in given if not _is_value(parsed)]
    folders = [path for parsed in choices if parsed.key_or_group == "hydra.searchpath" for path in parsed.value()]
    groups = all_groups(folders[0].removeprefix("file://") if folders else None)
    try:
        node = copy.deepcopy(_chosen(tuple(parsed.input_line for parsed in choices), _yaml_files(folders)))
        _prefer_given(node, given, groups)
    except Exception as e:
        raise _explained(e) from None
    return node


def _is_value(parsed: Any) -> bool:
    from hydra.core.override_parser.types import OverrideType

    return parsed.key_or_group in all_options() and parsed.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD)


def _prefer_given(node: Any, given: Sequence[Any], groups: conf_files.Groups) -> None:
    """Set what the command line says: its choices, which Hydra lets an experiment override, then its values."""
    from omegaconf import OmegaConf

    for parsed in given:
        if parsed.key_or_group in groups and parsed.key_or_group != "experiment":
            path = groups[parsed.key_or_group][parsed.value()]
            for name, value in conf_files.settings(parsed.key_or_group, path).items():
                OmegaConf.update(node, name, value)
    for parsed in given:
        if _is_value(parsed):
            OmegaConf.update(node, parsed.key_or_group, parsed.value(), merge=True)


@lru_cache(maxsize=32)
def _chosen(choices: tuple[str, ...], files: tuple[tuple[str, bytes], ...]) -> Any:
    """What Hydra composes of these choices, kept as long as no yaml file changes: it takes longer than many a verb, and
    a recipe composes for each of its verbs."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    _register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="asr"):
        return hydra_compose("config", list(choices))


def _yaml_files(folders: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
    """(path, content) of every file that Hydra may compose, from `conf/` and further folders."""
    roots = [conf_dir(), *(Path(folder.removeprefix("file://")) for folder in folders)]
    found = [path for root in roots for names in ("*.yaml", "*/*.yaml", "hydra/*/*.yaml") for path in root.glob(names)]
    return tuple((str(path), path.read_bytes()) for path in sorted(found) if path.is_file())


def to_config(node: Any) -> Config:
    """References resolved, every choice checked."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for option, names in references(node).items():
        if unknown := next((name for name in sorted(names) if name not in all_options()), None):
            raise InputError(f"{option}: ${{{unknown}}} is not an option{nearest(unknown, all_options())}; "
                             "write an option's full name")  # fmt: skip
    try:
        cfg = OmegaConf.to_object(node)
    except OmegaConfBaseException as e:
        raise _explained(e) from None
    assert isinstance(cfg, Config)
    check_choices(cfg)
    return cfg


def references(node: Any) -> dict[str, set[str]]:
    """Option -> the options that its value refers to as `${name}`."""
    from omegaconf import OmegaConf

    data: Any = OmegaConf.to_container(node, resolve=False)
    found = {}
    for name, option in all_options().items():
        value = (data[option.group] if option.group else data)[option.key]
        if names := reads.references_in(value):
            found[name] = names
    return found


def for_verb(verb: str, overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Those of a recipe's overrides (`key=value` with full keys) that have an effect on the verb."""
    found = references(compose_node(to_overrides(overrides, (), config_dir)))
    groups = all_groups(config_dir)
    return [word for word in overrides if reads.is_read(word, [verb], found, groups)]


def refuse_unread(
    overrides: Sequence[str], verbs: Sequence[str], also: Sequence[str] = (), config_dir: str | None = None
) -> None:
    """Raises InputError for the first override that none of a recipe's verbs reads, nor its preparation.

    `also`: the options or groups that the preparation reads.
    """
    found = references(compose_node(to_overrides(overrides, (), config_dir)))
    groups = all_groups(config_dir)
    for word in overrides:
        key, _ = reads.split(word)
        prepared = key in also or key.rpartition(".")[0] in also
        if not prepared and not reads.is_read(word, verbs, found, groups):
            owners = f"; it is an option of {reads.readers(key)}" if key in all_options() else ""
            raise InputError(f"no step of this recipe reads {key}{owners}")


def sweep(overrides: Sequence[str], verb: str, run: Callable[[Config], None], groups: conf_files.Groups) -> None:
    """Runs `run` for every combination of the swept values, through Hydra's sweeper and launcher.

    For a verb that starts runs, each job's `out` is a sub-folder of the given one, named after the swept values:
    `exp/seed=1`.
    """
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra

    _check_sweep(overrides, verb, groups)
    version.setbase("1.3")
    hydra = Hydra.create_main_hydra2("asr", create_config_search_path(str(conf_dir())))
    try:
        fixed = [o.key_or_group for o in _parsed(overrides) if not o.is_sweep_override()]
        names = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]"
        places = [names] if VERBS[verb].starts_run else ["hydra.sweep.subdir=."]
        job = partial(_job, verb, run, groups)
        hydra.multirun("config", job, [*overrides, *places], with_log_configuration=False)
    except Exception as e:
        raise _explained(e) from None
    finally:
        GlobalHydra.instance().clear()


def _check_sweep(overrides: Sequence[str], verb: str, groups: conf_files.Groups) -> None:
    """Refuses options that the verb does not read, before the first job starts."""
    first, every = [], []
    for parsed in _parsed(overrides):
        values = [parsed.input_line]
        if parsed.is_interval_sweep():  # of a sweeper that draws values
            values = [f"{parsed.key_or_group}={value}" for value in (parsed.value().start, parsed.value().end)]
        elif parsed.is_sweep_override():
            values = [f"{parsed.key_or_group}={value}" for value in parsed.sweep_string_iterator()]
        first.append(values[0])
        every += values
    reads.check(verb, every, references(compose_node(first)), groups)


def _parsed(overrides: Sequence[str]) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except Exception as e:
        raise _explained(e) from None


def _job(verb: str, run: Callable[[Config], None], groups: conf_files.Groups, cfg: Any) -> float | None:
    """One job of a sweep, in whatever process Hydra's launcher chose. All jobs read the same data. Returns the figure
    that a sweeper minimises, if the verb has one."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    given = list(HydraConfig.get().overrides.task)
    _prefer_given(cfg, _parsed(given), groups)
    if VERBS[verb].starts_run:
        OmegaConf.resolve(cfg.data)
        cfg.out = HydraConfig.get().runtime.output_dir
    cfg.merge_with_dotlist(found_earlier(verb, to_config(cfg), given, groups))
    run(to_config(cfg))
    figure = VERBS[verb].figure
    return figure(to_config(cfg)) if figure else None


def found_earlier(verb: str, cfg: Config, given: Sequence[str], groups: conf_files.Groups) -> list[str]:
    """The overrides that earlier verbs found, but for options that the command line sets, also by a group's choice."""
    earlier = VERBS[verb].earlier
    keys: set[str] = set()
    for key, value in map(reads.split, given):
        is_choice = key in groups and key != "experiment" and value in groups[key]
        keys |= conf_files.settings(key, groups[key][value]).keys() if is_choice else {key}
    return [override for override in (earlier(cfg, keys) if earlier else []) if reads.split(override)[0] not in keys]


@cache
def _register_schema() -> None:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store("schema", Config)


def _explained(error: Exception) -> Exception:
    """Hydra's and OmegaConf's exceptions as one sentence about the option or file; others unchanged."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError) or not isinstance(error, (HydraException, OmegaConfBaseException)):
        return error
    if override := getattr(error, "override", None):
        return InputError(f"cannot read '{override}'; put quotes around special characters, as in 'key=\"a(b)\"'")
    if isinstance(error, MissingConfigException):
        choices = ", ".join(error.options or [])
        return InputError(f"there is no {error.missing_cfg_file}.yaml" + (f"; there are: {choices}" if choices else ""))
    for known in (error, error.__cause__):
        if isinstance(known, OmegaConfBaseException):
            return InputError(conf_files.complaint(known))
    return InputError(f"Hydra cannot compose the configuration: {' '.join(str(error).split())}")
