"""ONNX models with a YAML file beside them that describes them.

Files       NAME.yaml, the ONNX file and the token table that it names
Front end   `frontend: samples`, or the options of a front end of ours, as `{kind: logmel, num_bins: 80}`,
            or NeMo's, as `{kind: nemo, num_bins: 80, cmvn: utterance}`, or lhotse's, `{kind: lhotse, high_hz: -400}`;
            `frontend: normalised` gives samples of mean 0 and variance 1
Subsampling `shift_ms`, the time from one output frame to the next; compared with what the model does
Tokens      `tokens`, a file or a list; `blank` and `space` name two of them

Log-probs and logits need no distinction: a softmax over the tokens that stay makes log-probs of both.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from asr.config import Config, FeaturesConfig, ModelConfig, check_group
from asr.errors import InputError, nearest
from asr.models.imported import outputs
from asr.models.imported.imported import Imported, Source
from asr.models.imported.onnx_file import OnnxFile
from asr.models.imported.onnx_model import OnnxModel, OnnxSpec
from asr.tokens import Tokens

MOST_BYTES = 1 << 20  # of a description
PROBE_S = 10  # seconds of noise with which the frame shift is measured
_KINDS = {"logmel": "features", "loglinear": "features", "mfcc": "features", "nemo": "nemo", "lhotse": "lhotse"}
_REQUIRED = ("model", "input", "output", "shift_ms", "tokens", "blank")
_OPTIONAL: dict[str, Any] = {
    "sample_rate_hz": 16000, "frontend": "samples", "lengths": None, "output_lengths": None, "bands_first": False,
    "space": None, "unit": None, "licence": None, "special": [], "chunk": 0, "chunk_shift": 0, "states": [],
}  # fmt: skip


def read(path: Path) -> Imported:
    """The model that a YAML file describes. Raises InputError naming what is wrong."""
    try:
        content = path.read_text(encoding="utf-8")
        found = yaml.safe_load(content) if len(content) <= MOST_BYTES else None
    except OSError as e:
        raise InputError(f"cannot read the description of a model, {path}: {e}") from e
    except (ValueError, RecursionError, yaml.YAMLError) as e:
        raise InputError(f"{path} is not YAML ({' '.join(str(e).split()):.200})") from e
    if not isinstance(found, dict):
        raise InputError(f"{path} does not describe a model; expected lines of 'key: value'")
    tokens = found.get("tokens")
    if isinstance(tokens, str):
        found["tokens"] = outputs.read_table(path.parent / tokens)
    if isinstance(found.get("model"), str):
        found["model"] = str(path.parent / found["model"])
    return build(found, path.stem, path)


def build(description: dict[str, Any], name: str, where: object, file: OnnxFile | None = None) -> Imported:
    """The model of a description whose `tokens` is a list of symbols, one per output. `file`: the model, if it has been
    opened."""
    for key in description:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise InputError(f"{where}: there is no key '{key}'{nearest(str(key), [*_REQUIRED, *_OPTIONAL])}")
    if lacking := [key for key in _REQUIRED if key not in description]:
        raise InputError(f"{where}: the key '{lacking[0]}' is missing")
    given = {**_OPTIONAL, **description}
    symbols, special = given["tokens"], given["special"]
    for key, value in (("tokens", symbols), ("special", special)):
        if not isinstance(value, list) or not all(isinstance(symbol, str | None) for symbol in value):
            raise InputError(f"{where}: '{key}' must be a list of symbols")
    if given["blank"] not in symbols:
        raise InputError(f"{where}: the blank {given['blank']!r} is not among the tokens")
    if given["space"] is not None and given["space"] not in symbols:
        raise InputError(f"{where}: the space {given['space']!r} is not among the tokens")
    spaces = [given["space"]] if given["space"] is not None else [" ", "|", "▁"]
    chosen = outputs.choose(symbols, symbols.index(given["blank"]), spaces, special, where)
    cfg = Config()
    cfg.features = _features(given, where)
    subsampling = round(given["shift_ms"] / cfg.features.shift_ms)
    cfg.model = ModelConfig(kind="linear", subsampling=subsampling)
    cfg.tokens.unit = given["unit"] or chosen.unit
    try:
        for group in ("features", "model", "tokens"):
            check_group(group, getattr(cfg, group))
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
    if subsampling * cfg.features.shift_ms != given["shift_ms"]:
        raise InputError(f"{where}: shift_ms is {given['shift_ms']}, no multiple of the front end's "
                         f"{cfg.features.shift_ms:g}")  # fmt: skip
    keys = ("input", "output", "lengths", "output_lengths", "bands_first", "chunk", "chunk_shift", "states")
    frontend = given["frontend"] if isinstance(given["frontend"], str) else _KINDS[given["frontend"]["kind"]]
    spec = OnnxSpec(columns=chosen.columns, frontend=frontend, **{key: given[key] for key in keys})
    try:
        spec.check()
    except ValueError as e:
        raise InputError(f"{where}: {e}, which is of the wrong type") from e
    path = Path(str(given["model"]))
    model = OnnxModel(spec, cfg.features, subsampling, file or OnnxFile.read(path))
    if (width := model.num_outputs) is not None and width != len(symbols):
        raise InputError(f"{where}: the model has {width} outputs, the table {len(symbols)} tokens")
    probed = probe(model, cfg.features.sample_rate_hz, where)
    source = Source(name, "ONNX", given["licence"] and str(given["licence"]), [path])
    return Imported(probed, cfg, Tokens(chosen.symbols), chosen.dropped, source)


def _features(given: dict[str, Any], where: object) -> FeaturesConfig:
    """The front end; of `samples`, kind=wave with the frames of the output."""
    shift_ms, rate_hz, frontend = given["shift_ms"], given["sample_rate_hz"], given["frontend"]
    if type(shift_ms) not in (int, float) or not 1 <= shift_ms <= 1000:
        raise InputError(f"{where}: shift_ms is {shift_ms!r}, expected 1 to 1000")
    if frontend in ("samples", "normalised"):
        return FeaturesConfig(kind="wave", sample_rate_hz=rate_hz, shift_ms=shift_ms, window_ms=shift_ms, cmvn="none")
    if not isinstance(frontend, dict) or frontend.get("kind") not in _KINDS:
        raise InputError(f"{where}: frontend is {frontend!r:.40}, expected samples or the options of a front end, "
                         f"such as {{kind: logmel, num_bins: 80}}")  # fmt: skip
    try:
        kind = frontend["kind"] if _KINDS[frontend["kind"]] == "features" else "logmel"
        return FeaturesConfig(**{"cmvn": "none", "sample_rate_hz": rate_hz, **frontend, "kind": kind})
    except TypeError as e:
        raise InputError(f"{where}: frontend has an option that features do not have ({e})") from e


def probe(model: OnnxModel, rate_hz: int, where: object) -> OnnxModel:
    """The model with the length of the shortest recording that it takes.

    Raises InputError if its frame shift is another than `frame_s`, and if it gives probabilities instead of log-probs.
    """
    noise = 0.01 * torch.randn(2 * PROBE_S * rate_hz, generator=torch.Generator().manual_seed(1))
    short, long = (model.run(noise[: seconds * rate_hz]) for seconds in (PROBE_S, 2 * PROBE_S))
    frames = len(long) - len(short)
    if abs(frames * model.frame_s - PROBE_S) > 2 * model.frame_s:
        found = f"per {1000 * PROBE_S / frames:.4g} ms" if frames > 0 else "for nothing"
        raise InputError(
            f"{where}: shift_ms is {1000 * model.frame_s:g}, but the model gives a frame {found}; correct shift_ms"
        )
    if short.min() >= 0 and torch.allclose(short.sum(1), torch.ones(len(short)), atol=1e-2):
        raise InputError(f"{where}: output '{model.spec.output}' holds probabilities; expected log-probs or logits; "
                         "export the model with its logits")  # fmt: skip

    def gives_frames(samples: int) -> bool:
        try:
            return len(model.run(noise[:samples])) > 0
        except InputError:
            return False

    least = _smallest(gives_frames, PROBE_S * rate_hz)
    model.spec = replace(model.spec, least_samples=least)
    return model


def _smallest(is_enough: Callable[[int], bool], most: int) -> int:
    """The smallest number from 1 to `most` for which `is_enough`, which holds for `most`."""
    low, high = 0, most
    for _ in range(math.ceil(math.log2(most))):
        if high - low < 2:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
