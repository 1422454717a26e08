"""Pretrained encoders: samples in, one vector per frame out, learned by others from far more speech.

`features.encoder` names a folder in the format of Hugging Face, of CTranslate2 or of `write_encoder`, a described ONNX
model, or a model of Hugging Face's hub. Nothing is unpickled.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from asr.errors import InputError
from asr.features.encoders import conformer, onnx, wav2vec2, whisper, whisper_files
from asr.features.encoders.encoder import Encoder
from asr.features.encoders.hub import find_folder, full_name
from asr.features.encoders.json_files import read_json
from asr.files import atomic_write

__all__ = ["Encoder", "build_encoder", "full_name", "open_encoder", "write_encoder"]

MOST = 1 << 16  # limit of a size
MOST_LAYERS = 256
MOST_TOKENS = 1 << 20  # of the head that the encoder had


def open_encoder(source: str | None) -> Encoder:
    """The encoder in the folder or file `source`, or of that name in the hub; its weights do not ask for gradients.

    Raises InputError if there is none, if it is of an unknown kind, or if a file is missing or damaged.
    """
    if source is None:
        raise InputError("features=pretrained needs an encoder; name its folder with features.encoder=DIR")
    if described := onnx.find(source):
        return _frozen(onnx.read(described))
    folder = find_folder(source)
    if (folder / "model.bin").exists():
        return _frozen(whisper_files.read_ctranslate2(folder / "model.bin"))
    config = read_json(folder / "config.json")
    if "family" in config:
        return _read_own(folder, config)
    kind = config.get("model_type")
    if kind == "whisper":
        return _frozen(whisper_files.read_hugging_face(folder, config))
    if kind in wav2vec2.KINDS:
        return _frozen(wav2vec2.read(folder, config, read_json(folder / "preprocessor_config.json")))
    raise InputError(
        f"{folder}: an encoder of type {kind!r} is not supported; supported types: whisper, {', '.join(wav2vec2.KINDS)}"
    )


def build_encoder(description: dict[str, Any]) -> Encoder:
    """The encoder of an `Encoder.description()`, whose weights are to be loaded.

    Raises ValueError, TypeError, KeyError or InputError for one that is unknown or out of bounds.
    """
    sizes = dict(description)
    family = sizes.pop("family")
    if family == "wav2vec2":
        if sizes["config"]["model_type"] not in wav2vec2.KINDS:
            raise ValueError(f"there is no encoder of type {sizes['config']['model_type']!r}")
        _check_sizes(sizes)
        try:
            return _frozen(wav2vec2.Wav2Vec2(**sizes))
        except InputError:
            raise
        except Exception as e:  # transformers raises errors of many kinds for values that do not fit each other
            raise ValueError(f"the encoder's description is wrong: {e!r:.200}") from e
    if family == "onnx":
        return _frozen(onnx.build(sizes))
    families: dict[str, Any] = {
        "whisper": (whisper.Whisper, whisper.Sizes), "conformer": (conformer.Conformer, conformer.Sizes)
    }  # fmt: skip
    if family not in families:
        raise ValueError(f"there is no encoder {family!r}")
    for name, value in sizes.items():
        least, most = (0, 1) if name in conformer.SWITCHES else (1, MOST_LAYERS if name == "layers" else MOST)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"the encoder's {name} is {value!r}, expected {least} to {most}")
    kind, shape = families[family]
    return _frozen(kind(shape(**sizes)))


def write_encoder(encoder: Encoder, folder: Path) -> None:
    """Write an encoder as a folder that `open_encoder` opens: its description, and its weights in safetensors."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    with atomic_write(folder / "model.safetensors", "wb") as file:
        file.write(safetensors.save(state))
    with atomic_write(folder / "config.json") as file:
        json.dump(encoder.description(), file, indent=1)


def _read_own(folder: Path, description: dict[str, Any]) -> Encoder:
    try:
        state = safetensors.load((folder / "model.safetensors").read_bytes())
        with torch.device("meta"):
            wanted = build_encoder(description).state_dict()
        if {name: x.shape for name, x in wanted.items()} != {name: x.shape for name, x in state.items()}:
            raise ValueError("the weights do not fit the description")
        encoder = build_encoder(description)
        encoder.load_state_dict(state)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as e:
        raise InputError(f"{folder} does not hold an encoder ({e}); restore it, or train again elsewhere") from e
    return encoder


def _check_sizes(value: Any, name: str = "") -> None:
    """Raises ValueError if a size within the description is out of proportion."""
    most = MOST_LAYERS if "layers" in name else MOST_TOKENS if name.endswith(("vocab_size", "_token_id")) else MOST
    if isinstance(value, dict | list):
        if len(value) > most:
            raise ValueError(f"the encoder's {name} has {len(value)} entries, expected at most {most}")
        for key, item in value.items() if isinstance(value, dict) else ((name, item) for item in value):
            _check_sizes(item, str(key))
    elif isinstance(value, int | float) and not abs(value) <= most:
        raise ValueError(f"the encoder's {name} is {value}, expected at most {most}")


def _frozen(encoder: Encoder) -> Encoder:
    return encoder.requires_grad_(False).eval()
