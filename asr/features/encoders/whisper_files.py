"""Whisper models on disk: CTranslate2's `model.bin` (faster-whisper) and Hugging Face's `model.safetensors`.

Only the encoder is read.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from asr.errors import InputError
from asr.features.encoders import ctranslate2
from asr.features.encoders.whisper import Whisper, from_tensors


def read_ctranslate2(path: Path) -> Whisper:
    """Raises InputError if the file is not a Whisper model or is damaged."""
    tensors = ctranslate2.read(path, "WhisperSpec", "encoder/")
    heads = tensors.pop("num_heads", None)
    if heads is None:
        raise InputError(f"{path} lacks the number of heads; convert the model again with CTranslate2")
    return from_tensors({name: x for name, x in tensors.items() if x.ndim}, int(heads), path)


def read_hugging_face(folder: Path, config: dict[str, Any]) -> Whisper:
    """`config`: the contents of config.json. Raises InputError if the weights are missing or damaged."""
    if not isinstance(heads := config.get("encoder_attention_heads"), int):
        raise InputError(f"{folder / 'config.json'} lacks encoder_attention_heads; copy or download the folder again")
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
    return from_tensors(tensors, heads, folder)
