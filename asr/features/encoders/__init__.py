"""Pretrained encoders: samples in, one vector per frame out, learned by others from far more speech.

`features.encoder` names a folder in the format of Hugging Face or CTranslate2, or a model of Hugging Face's hub.
Nothing is unpickled.
"""

import json
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.features.encoders import wav2vec2, whisper, whisper_files
from asr.features.encoders.encoder import Encoder
from asr.features.encoders.hub import find_folder, full_name

__all__ = ["Encoder", "build_encoder", "full_name", "open_encoder"]

MOST = 1 << 16  # limit of a size


def open_encoder(source: str | None) -> Encoder:
    """The encoder in the folder `source`, or of that name in the hub; its weights do not ask for gradients.

    Raises InputError if there is none, if it is of an unknown kind, or if a file is missing or damaged.
    """
    if source is None:
        raise InputError("features=pretrained needs an encoder; name its folder with features.encoder=DIR")
    folder = find_folder(source)
    if (folder / "model.bin").exists():
        return _frozen(whisper_files.read_ctranslate2(folder / "model.bin"))
    config = _read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind == "whisper":
        return _frozen(whisper_files.read_hugging_face(folder, config))
    if kind in wav2vec2.KINDS:
        return _frozen(wav2vec2.read(folder, config, _read_json(folder / "preprocessor_config.json")))
    raise InputError(
        f"{folder}: an encoder of type {kind!r} is not supported; supported types: whisper, {', '.join(wav2vec2.KINDS)}"
    )


def build_encoder(description: dict[str, Any]) -> Encoder:
    """The encoder of an `Encoder.description()`, whose weights are to be loaded.

    Raises ValueError, TypeError or KeyError for one that is unknown or out of bounds.
    """
    sizes = dict(description)
    family = sizes.pop("family")
    if family == "wav2vec2":
        if sizes["config"]["model_type"] not in wav2vec2.KINDS:
            raise ValueError(f"there is no encoder of type {sizes['config']['model_type']!r}")
        return _frozen(wav2vec2.Wav2Vec2(**sizes))
    if family != "whisper":
        raise ValueError(f"there is no encoder {family!r}")
    if odd := [name for name, value in sizes.items() if type(value) is not int or not 0 < value <= MOST]:
        raise ValueError(f"the encoder's {odd[0]} is {sizes[odd[0]]!r}, expected 1 to {MOST}")
    return _frozen(whisper.Whisper(whisper.Sizes(**sizes)))


def _frozen(encoder: Encoder) -> Encoder:
    return encoder.requires_grad_(False).eval()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"cannot read {path}: {e}; copy or download the folder of the encoder again") from e
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a description of a model; copy or download the folder of the encoder again")
    return found
