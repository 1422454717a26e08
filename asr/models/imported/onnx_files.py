"""ONNX models with a YAML file beside them that describes them.

Files       NAME.yaml, the ONNX file and the token table that it names
Call        front end, names of inputs and outputs, frame shift: asr.features.onnx.description
Tokens      `tokens`, a file or a list; `blank` and `space` name two of them

Log-probs and logits need no distinction: a softmax over the tokens that stay makes log-probs of both.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from asr.config import Config, ModelConfig, check_group
from asr.errors import InputError
from asr.features.onnx import description
from asr.features.onnx.file import OnnxFile
from asr.features.onnx.net import smallest
from asr.models.imported import outputs
from asr.models.imported.imported import Imported, Source
from asr.models.imported.onnx_model import OnnxModel
from asr.tokens import Tokens

PROBE_S = 10  # seconds of noise with which the frame shift is measured
_REQUIRED = (*description.REQUIRED, "tokens", "blank")
_OPTIONAL = description.OPTIONAL | {"space": None, "unit": None, "special": []}


def read(path: Path) -> Imported:
    """The model that a YAML file describes. Raises InputError naming what is wrong."""
    found = description.read(path)
    tokens = found.get("tokens")
    if isinstance(tokens, str):
        found["tokens"] = outputs.read_table(path.parent / tokens)
    return build(found, path.stem, path)


def build(described: dict[str, Any], name: str, where: object, file: OnnxFile | None = None) -> Imported:
    """The model of a description whose `tokens` is a list of symbols, one per output. `file`: the model, if it has been
    opened."""
    given = description.complete(described, _REQUIRED, _OPTIONAL, where)
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
    cfg.features = description.features_of(given, where)
    subsampling = round(given["shift_ms"] / cfg.features.shift_ms)
    cfg.model = ModelConfig(kind="linear", subsampling=subsampling)
    cfg.tokens.unit = given["unit"] or chosen.unit
    try:
        for group in ("model", "tokens"):
            check_group(group, getattr(cfg, group))
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
    if subsampling * cfg.features.shift_ms != given["shift_ms"]:
        raise InputError(f"{where}: shift_ms is {given['shift_ms']}, no multiple of the front end's "
                         f"{cfg.features.shift_ms:g}")  # fmt: skip
    spec = description.spec_of(given, where, chosen.columns)
    path = Path(str(given["model"]))
    model = OnnxModel(spec, cfg.features, subsampling, file or OnnxFile.read(path))
    if (width := model.num_outputs) is not None and width != len(symbols):
        raise InputError(f"{where}: the model has {width} outputs, the table {len(symbols)} tokens")
    probed = probe(model, cfg.features.sample_rate_hz, where)
    source = Source(name, "ONNX", given["licence"] and str(given["licence"]), [path])
    return Imported(probed, cfg, Tokens(chosen.symbols), chosen.dropped, source)


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
    least = smallest(lambda samples: model.gives_frames(noise[:samples]), PROBE_S * rate_hz)
    model.spec = replace(model.spec, least_samples=least)
    return model
