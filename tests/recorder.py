"""Configurations that note which options are read, to compare with those that the verbs declare."""

import copy
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asr import config
from asr.cli.options import all_options
from asr.cli.reads import read_by
from asr.config import Config

ROOM = Path(config.__file__).parent
COPIERS = (config.__file__, copy.__file__, str(ROOM / "frozen.py"))  # they only copy or check values
assert all(Path(copier).exists() for copier in COPIERS)
UNUSED = {  # options that a verb reads, but that do not affect its results
    "bundle": {"graph.lexicon", "tokens.lexicon"},  # filled in from the training for all verbs; a bundle has none
    "data check": {"graph.lexicon"},  # likewise; the check has no graph
    "flywheel retrain": {"adapt.passes", "adapt.speech_s"},  # compared with those of a tuning; only HMMs adapt
}
READ: dict[str, set[str]] = {}  # verb -> the options it read, over all runs of this process


def recorded(verb: str, run: Callable[[Config], None]) -> Callable[[Config], None]:
    """`run` with a recording configuration. Fails if the verb reads an option that it does not declare."""

    def run_recorded(cfg: Config) -> None:
        found: set[str] = set()
        try:
            run(recording(cfg, found))
        finally:
            READ.setdefault(verb, set()).update(found)
        undeclared = found - read_by(verb, {}) - UNUSED.get(verb, set())
        assert not undeclared, f"`asr {verb}` reads {sorted(undeclared)}, which it does not declare"

    run_recorded.__doc__ = run.__doc__
    return run_recorded


def recording(cfg: Config, found: set[str]) -> Config:
    """A copy of `cfg` that adds the name of each option that is read to `found`, unless its reader has set it."""
    parts = {
        name: _recording(value, f"{name}.", found)
        for name, value in vars(cfg).items()
        if dataclasses.is_dataclass(value)
    }
    return _recording(cfg, "", found, parts)


def _recording(value: Any, prefix: str, found: set[str], parts: dict[str, Any] | None = None) -> Any:
    kind = type(value)
    names = {name: f"{prefix}{name}" for name in vars(value) if f"{prefix}{name}" in all_options()}
    last = dataclasses.fields(kind)[-1].name
    marked: set[str] = set()  # set in any copy; read-only copies of a `Recognizer` lose their own marks
    copied: set[str] = set()  # by `dataclasses.replace`, which then calls __init__ with these and with new values

    def get(self: Any, name: str) -> Any:
        values = object.__getattribute__(self, "__dict__")
        caller = sys._getframe(1).f_code
        if caller.co_name == "replace":
            copied.add(name)
        elif caller.co_filename not in COPIERS:
            read = names if name == "__dict__" else {name} & names.keys()
            is_marked = marked.__contains__ if type(self) is not made else lambda key: f"set {key}" in values
            found.update(names[key] for key in read if not is_marked(key))
        return object.__getattribute__(self, name)

    def put(self: Any, name: str, new: Any) -> None:
        object.__setattr__(self, name, new)
        caller = sys._getframe(1).f_code.co_name
        if caller not in ("__init__", "__post_init__") or caller == "__init__" and name not in copied:
            object.__setattr__(self, f"set {name}", True)
            marked.add(name)
        if caller == "__init__" and name == last:
            copied.clear()

    def duplicate(self: Any, memo: Any = None) -> Any:
        values = object.__getattribute__(self, "__dict__")
        return _made(type(self), values if memo is None else copy.deepcopy(values, memo))

    def pickled(self: Any) -> tuple[Any, ...]:
        return _made, (kind, dict(object.__getattribute__(self, "__dict__")))

    methods = {
        "__getattribute__": get,
        "__setattr__": put,
        "__copy__": duplicate,
        "__deepcopy__": duplicate,
        "__reduce__": pickled,
    }
    made = type(kind.__name__, (kind,), methods)
    return _made(made, vars(value) | (parts or {}))


def _made(kind: type, values: dict[str, Any]) -> Any:
    made = object.__new__(kind)
    object.__getattribute__(made, "__dict__").update(values)
    return made
