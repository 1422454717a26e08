"""The YAML file beside an ONNX model that says how it is called; of CTC models and of encoders.

Front end   `frontend: samples`, or the options of a front end of ours, as `{kind: logmel, num_bins: 80}`,
            or NeMo's, as `{kind: nemo, num_bins: 80, cmvn: utterance}`, or lhotse's, `{kind: lhotse, high_hz: -400}`;
            `frontend: normalised` gives samples of mean 0 and variance 1
Subsampling `shift_ms`, the time from one output frame to the next; compared with what the model does
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from asr.config import FeaturesConfig, check_group
from asr.errors import InputError, nearest
from asr.features.onnx.net import OnnxSpec
from asr.literals import MOST_DIGITS

MOST_BYTES = 1 << 20  # of a description
REQUIRED = ("model", "input", "output", "shift_ms")
OPTIONAL: dict[str, Any] = {
    "sample_rate_hz": 16000, "frontend": "samples", "lengths": None, "output_lengths": None, "bands_first": False,
    "licence": None, "chunk": 0, "chunk_shift": 0, "states": [],
}  # fmt: skip
_CALL = ("input", "output", "lengths", "output_lengths", "bands_first", "chunk", "chunk_shift", "states")
_KINDS = {"logmel": "features", "loglinear": "features", "mfcc": "features", "nemo": "nemo", "lhotse": "lhotse"}


class _Loader(yaml.SafeLoader):
    """Without aliases, which can stand for any number of values, and without whole numbers of many digits."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias; repeat the value")
        return super().compose_node(parent, index)

    def whole_number(self, node: Any) -> int:
        if len(str(node.value)) > MOST_DIGITS:
            raise ValueError(f"it has a number of more than {MOST_DIGITS} digits")
        return self.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


def read(path: Path) -> dict[str, Any]:
    """The description, with the path of the model seen from here. Raises InputError if it is none."""
    try:
        content = path.read_text(encoding="utf-8")
        found = yaml.load(content, _Loader) if len(content) <= MOST_BYTES else None
    except OSError as e:
        raise InputError(f"cannot read the description of a model, {path}: {e}") from e
    except Exception as e:  # PyYAML makes values of tags, as of `!!int ""`, with errors of many kinds
        raise InputError(f"{path} is not YAML ({' '.join(str(e).split()):.200})") from e
    if not isinstance(found, dict):
        raise InputError(f"{path} does not describe a model; expected lines of 'key: value'")
    if isinstance(found.get("model"), str):
        found["model"] = str(path.parent / found["model"])
    return found


def complete(
    description: Mapping[str, Any], required: Sequence[str], optional: Mapping[str, Any], where: object
) -> dict[str, Any]:
    """The description with the optional keys that it lacks. Raises InputError for a missing or unknown key."""
    for key in description:
        if key not in (*required, *optional):
            raise InputError(f"{where}: there is no key '{key}'{nearest(str(key), [*required, *optional])}")
    if lacking := [key for key in required if key not in description]:
        raise InputError(f"{where}: the key '{lacking[0]}' is missing")
    return {**optional, **description}


def spec_of(given: Mapping[str, Any], where: object, columns: Sequence[int] = ()) -> OnnxSpec:
    """How the model is called. `given`: a complete description, whose front end `features_of` accepts."""
    frontend = given["frontend"] if isinstance(given["frontend"], str) else _KINDS[given["frontend"]["kind"]]
    spec = OnnxSpec(columns=list(columns), frontend=frontend, **{key: given[key] for key in _CALL})
    try:
        spec.check()
    except ValueError as e:
        raise InputError(f"{where}: {e}, which is of the wrong type") from e
    return spec


def features_of(given: Mapping[str, Any], where: object) -> FeaturesConfig:
    """The front end; of `samples`, kind=wave with the frames of the output."""
    shift_ms, rate_hz, frontend = given["shift_ms"], given["sample_rate_hz"], given["frontend"]
    if type(shift_ms) not in (int, float) or not 1 <= shift_ms <= 1000:
        raise InputError(f"{where}: shift_ms is {shift_ms!r}, expected 1 to 1000")
    if frontend in ("samples", "normalised"):
        wave = FeaturesConfig(kind="wave", sample_rate_hz=rate_hz, shift_ms=shift_ms, window_ms=shift_ms, cmvn="none")
        return _checked(wave, where)
    if not isinstance(frontend, dict) or str(frontend.get("kind")) not in _KINDS:
        raise InputError(f"{where}: frontend is {frontend!r:.40}, expected samples or the options of a front end, "
                         f"such as {{kind: logmel, num_bins: 80}}")  # fmt: skip
    try:
        kind = frontend["kind"] if _KINDS[frontend["kind"]] == "features" else "logmel"
        return _checked(FeaturesConfig(**{"cmvn": "none", "sample_rate_hz": rate_hz, **frontend, "kind": kind}), where)
    except TypeError as e:
        raise InputError(f"{where}: frontend has an option that features do not have ({e})") from e


def _checked(features: FeaturesConfig, where: object) -> FeaturesConfig:
    try:
        check_group("features", features)
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
    return features
