"""From the words of a command line to one checked `Config`, composed by Hydra from `conf/`.

Words with `=` are overrides, others are files. A bare key is looked up in the verb's home groups, so that
`asr lm train order=4` sets `lm.order`. Whatever is wrong is told in one sentence that names the nearest right word.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from asr.cli.options import Option, all_groups, all_options, conf_dir
from asr.config import Config
from asr.errors import InputError

_PLAIN = re.compile(r"(?!(?:true|false|nan|inf)$)[A-Za-z_./][\w./+-]*", re.ASCII | re.IGNORECASE)
_OVERRIDE = re.compile(r"\+{0,2}((?:hydra/)?[^=/]+)=(.*)", re.DOTALL)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """'; did you mean ...?' with the known word most like `word`, or nothing when none is."""
    last_parts = {name.rpartition(".")[2]: name for name in reversed(list(known))} | {name: name for name in known}
    close = difflib.get_close_matches(word, last_parts, 1, cutoff)
    return f"; did you mean '{last_parts[close[0]]}'?" if close else ""


def _expected(word: str, choices: Iterable[str]) -> str:
    return f"expected one of {', '.join(choices)}{nearest(word, choices)}"


def is_override(word: str) -> bool:
    """`key=value`, as against a file (whose name may hold `=` behind a slash: `exp/seed=1/model.asr`)."""
    return _OVERRIDE.fullmatch(word) is not None


def to_overrides(words: Sequence[str], home: Sequence[str], config_dir: str | None, sweep: bool = False) -> list[str]:
    """Words of the command line -> overrides in Hydra's grammar with full keys; plain words become `input`."""
    if config_dir and not Path(config_dir).is_dir():
        raise InputError(f"--config-dir {config_dir} is not a folder; it should hold experiment/NAME.yaml")
    groups = all_groups(config_dir)
    overrides, files = [], []
    for word in words:
        match = _OVERRIDE.fullmatch(word)
        if match:
            overrides.append(_resolve(match[1], match[2], home, groups, sweep))
        else:
            files.append(_quoted(word))
    if files:
        overrides.append(f"input=[{','.join(files)}]")
    if config_dir:
        overrides.append(f"hydra.searchpath=[{_quoted('file://' + str(Path(config_dir).resolve()))}]")
    return overrides


def _resolve(key: str, value: str, home: Sequence[str], groups: dict[str, dict[str, str]], sweep: bool) -> str:
    options = all_options()
    if key.startswith(("hydra/", "hydra.")):
        return f"{key}={value}"
    if key in groups:
        for choice in value.split(",") if sweep else [value]:
            if choice not in groups[key]:
                raise InputError(f"{key}={choice}: {_expected(choice, groups[key])}")
        return f"{key}={value}"
    names = [key, *(f"{group}.{key}" for group in home)]
    name = next((name for name in names if name in options), None)
    if name is None:
        known = [*(n for n in options if n.partition(".")[0] in home), *options, *groups]
        raise InputError(f"there is no option '{key}'{nearest(key, known) or '; `asr VERB --help` lists them'}")
    return f"{name}={_value(options[name], value, sweep)}"


def _value(option: Option, value: str, sweep: bool) -> str:
    """`value` in Hydra's grammar: text that its lexer would not take is quoted, lone items of a list get brackets."""
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
    """`text` in single quotes; backslashes are doubled only where they stand before a quote, as Hydra reads them."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def compose(overrides: Sequence[str]) -> Config:
    """The `Config` of one run. Raises InputError naming the option, the expected type and the given value."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    _register_schema()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="asr"):
            return _to_config(hydra_compose("config", list(overrides)))
    except Exception as e:
        raise _explained(e) from None


def sweep(
    overrides: Sequence[str],
    run: Callable[[Config], None],
    earlier: Callable[[Config], list[str]] | None = None,
    own_folders: bool = True,
) -> None:
    """Runs `run` for every combination of the swept values, through Hydra's sweeper and launcher.

    With `own_folders` each job's `out` is a sub-folder of the given one, named after the swept values: `exp/seed=1`.
    `earlier`: see `asr.cli.verbs.Verb`.
    """
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    _register_schema()
    version.setbase("1.3")
    hydra = Hydra.create_main_hydra2("asr", create_config_search_path(str(conf_dir())))
    try:
        parsed = OverridesParser.create(hydra.config_loader).parse_overrides(list(overrides))
        fixed = [o.key_or_group for o in parsed if not o.is_sweep_override()]
        names = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]"
        places = [names] if own_folders else ["hydra.sweep.subdir=."]
        job = partial(_job, run, earlier, own_folders)
        hydra.multirun("config", job, [*overrides, *places], with_log_configuration=False)
    except Exception as e:
        raise _explained(e) from None
    finally:
        GlobalHydra.instance().clear()


def _job(
    run: Callable[[Config], None], earlier: Callable[[Config], list[str]] | None, own_folders: bool, cfg: Any
) -> None:
    """One job of a sweep, in whatever process Hydra's launcher chose. All jobs read the same data."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if own_folders:
        OmegaConf.resolve(cfg.data)
        cfg.out = HydraConfig.get().runtime.output_dir
    given = {override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task}
    for key, _, value in (o.partition("=") for o in (earlier(_to_config(cfg)) if earlier else [])):
        if key not in given:
            OmegaConf.update(cfg, key, value)
    run(_to_config(cfg))


def _register_schema() -> None:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store("schema", Config)


def _to_config(node: Any) -> Config:
    from omegaconf import OmegaConf

    cfg = OmegaConf.to_object(node)
    assert isinstance(cfg, Config)
    for option in all_options().values():
        value: Any = cfg
        for part in option.name.split("."):
            value = getattr(value, part)
        if option.choices and value not in option.choices:
            raise InputError(f"{option.name}={value}: {_expected(str(value), option.choices)}")
    if isinstance(cfg.experiment, (dict, list)):
        raise InputError("the experiment file changes nothing; its first line must be '# @package _global_'")
    return cfg


def _explained(error: Exception) -> Exception:
    """Hydra's and OmegaConf's exceptions as one sentence about the option or file; others as they are."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return InputError(f"{mark.name}, line {mark.line + 1}: {error.problem}; mend the yaml")
    if isinstance(error, UnicodeDecodeError):
        return InputError("one of the chosen yaml files is no UTF-8 text; save it as UTF-8")
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return error
    if override := getattr(error, "override", None):
        return InputError(f"cannot read '{override}'; put quotes around special characters, as in 'key=\"a(b)\"'")
    text = f"{error}\n{error.__cause__ or ''}"
    file = re.match(r"In '(?!config')([^']+)': ", text)
    where = f"{file[1]}.yaml: " if file else ""
    return InputError(where + _complaint(text))


def _complaint(text: str) -> str:
    """What Hydra's message says, in this house's words."""
    if key := re.search(r"full_key: ([^\s\[]+)", text):
        option, value = all_options().get(key[1]), re.search(r"Value '(.*?)' (?:of type|is not)", text)
        if option is None:
            return f"there is no option '{key[1]}'{nearest(key[1], all_options())}"
        if "Interpolation" in text:
            return f"{key[1]}: {text.splitlines()[0]}; write another option's full name in ${{...}}"
        given = f"'{value[1]}'" if value else "null" if "not Optional" in text else "a value of another kind"
        return f"{key[1]} expects {option.type_name}, not {given}"
    if missing := re.search(r"Could not find '([^']+)/([^']+)'", text):
        listed = re.findall(r"\t(\w+)", text.partition("Config search path")[0])
        return f"{missing[1]}={missing[2]}: {_expected(missing[2], listed)}"
    if group := re.search(r"Could not override '(\w+)'", text):
        return f"there is no group '{group[1]}'{nearest(group[1], all_groups())}"
    if several := re.search(r"Ambiguous value for argument '(.*)'", text):
        return f"{several[1]} gives several values; add -m to run once with each"
    return f"{text.splitlines()[0]}; `asr VERB --cfg` prints the configuration"
