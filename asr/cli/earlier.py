"""Options that earlier verbs found, as overrides. Those of the command line follow and take precedence.

`given`: the options that the command line sets.
"""

import dataclasses
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from asr.config import AdaptConfig, Config
from asr.literals import parse_json

BEHIND_STORED = ("features.deltas", "features.cmvn")  # what a training does to stored features


def tuned(cfg: Config, given: Collection[str] = (), adapts: bool = True) -> list[str]:
    """The options that `asr tune` and `asr calibrate` found."""
    from asr.recognizer.run_folder import calibration

    overrides, adapt = _tuning(cfg, given, adapts)
    return [*overrides, *_overrides(calibration(dataclasses.replace(cfg, adapt=adapt)))]


def tuned_decoder(cfg: Config, given: Collection[str] = ()) -> list[str]:
    """The same for a verb that does not adapt to speakers."""
    return tuned(cfg, given, adapts=False)


def tuned_scales(cfg: Config, given: Collection[str] = ()) -> list[str]:
    """The options that `asr tune` found."""
    return _tuning(cfg, given, adapts=True)[0]


def _tuning(cfg: Config, given: Collection[str], adapts: bool) -> tuple[list[str], AdaptConfig]:
    """Decoder options that `asr tune` found, with how HMMs adapted there if the verb `adapts` to speakers; a line on
    stderr says so."""
    from asr.recognizer import run_folder

    scales, adapt = run_folder.tuning(cfg, given)
    overrides = _overrides(scales)
    if adapts:
        before = vars(cfg.adapt)
        overrides += [f"adapt.{name}={value}" for name, value in vars(adapt).items() if value != before[name]]
    overrides = [override for override in overrides if override.partition("=")[0] not in given]
    if overrides:
        print(f"tuned on dev ({run_folder.tuning_path(cfg)}): {' '.join(overrides)}", file=sys.stderr)
    return overrides, adapt


def unlimited(cfg: Config, given: Collection[str] = ()) -> list[str]:
    """No limit on the length of recordings: the option is for training; long recordings are cut at pauses."""
    return ["data.max_audio_s=inf"]


def bundled(cfg: Config, given: Collection[str] = ()) -> list[str]:
    """The decoder options in a bundle. Empty for an unreadable bundle; opening it reports the error."""
    (limit,) = unlimited(cfg)
    if Path(cfg.bundle).is_dir():  # a run folder, opened with what was found for it
        return [limit, *tuned_decoder(Config(out=cfg.bundle), given)]
    try:
        with zipfile.ZipFile(cfg.bundle) as archive:
            if archive.getinfo("config.json").compress_type != zipfile.ZIP_STORED:  # it could unpack to any size
                return [limit]
            decoder = parse_json(archive.read("config.json"))["decoder"]
        return [limit, *(f"decoder.{name}={'null' if value is None else value}" for name, value in decoder.items())]
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, KeyError, AttributeError, TypeError):
        return [limit]


def started(cfg: Config, given: Collection[str] = ()) -> list[str]:
    """The features, net and unit of the recogniser that a training starts from; a line on stderr names them.

    A training on stored features keeps them, behind a recogniser of sound too: the training compares what made them.
    """
    from asr.recognizer.run_folder import read_start

    if cfg.init is None:
        return []
    options = read_start(cfg.init).options(cfg.model.tune_layers)
    if cfg.features.kind == "stored" != options.get("features.kind"):
        made_by = [name for name in options if name.startswith("features.") and name not in BEHIND_STORED]
        options = {name: value for name, value in options.items() if name not in made_by}
    found = [f"{name}={_written(value)}" for name, value in options.items()]
    print(f"as in {cfg.init}: {' '.join(found)}", file=sys.stderr)
    return found


def current(cfg: Config, given: Collection[str] = ()) -> list[str]:
    """The current version, which a retraining starts from unless it names another, with its features, net and unit."""
    from asr.flywheel.versions import Versions

    found: list[str] = []
    folder = cfg.flywheel.versions if cfg.init is None else None
    if folder is not None and (version := Versions(folder).current()):
        cfg.init = str(version.model)
        found = [f"init={_quoted(cfg.init)}"]
        print(f"starting from version {version.number}: {cfg.init}", file=sys.stderr)
    return [*found, *(started(cfg) if "acoustic" in cfg.flywheel.parts else [])]


def _written(value: object) -> str:
    return "null" if value is None else str(value).replace(" ", "")


def _overrides(found: dict[str, Any]) -> list[str]:
    return [f"decoder.{name}={_quoted(value) if name == 'rescore' else value}" for name, value in found.items()]


def _quoted(path: str | None) -> str:
    """A path or null in Hydra's grammar. The few other characters that mean something within quotes are refused by the
    verb that opens the file."""
    return "null" if path is None else "'" + path.replace("'", "\\'") + "'"
