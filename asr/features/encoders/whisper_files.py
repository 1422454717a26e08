"""Whisper models in folders: CTranslate2's `model.bin` (faster-whisper) and Hugging Face's `model.safetensors`."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr.errors import InputError
from asr.features.encoders import ctranslate2
from asr.features.encoders.whisper import Whisper, from_tensors


def read(folder: Path) -> Whisper:
    """The encoder of the model in `folder`; its decoder is not read.

    Raises InputError if there is no such model, or if it is damaged.
    """
    if (path := folder / "model.bin").exists():
        tensors = ctranslate2.read(path, "WhisperSpec", "encoder/")
        heads = tensors.pop("num_heads", None)
        if heads is None:
            raise InputError(f"{path} lacks the number of heads; convert the model again with CTranslate2")
        return from_tensors({name: x for name, x in tensors.items() if x.ndim}, int(heads), path)
    return from_tensors(*_hugging_face(folder), folder)


def _hugging_face(folder: Path) -> tuple[dict[str, Tensor], int]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind, heads = config["model_type"], int(config["encoder_attention_heads"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} does not describe a Whisper model ({e!r}); copy or download the folder again") from e
    if kind != "whisper":
        raise InputError(f"{path} is of a model of type {kind}; expected whisper")
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(f"{folder} holds no model.safetensors; save the model with safe_serialization=True")
    tensors = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    if (own := name.removeprefix("model.")).startswith("encoder."):
                        tensors[own.removeprefix("encoder.")] = opened.get_tensor(name).float()
        except (OSError, SafetensorError) as e:
            raise InputError(f"{file} cannot be read ({e}); copy or download it again") from e
    return tensors, heads
