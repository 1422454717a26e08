"""Pretrained encoders: samples in, one vector per frame out, learned by others from far more speech.

`features.encoder` names a folder, in the format of its library. The weights are read without that library, and never
by unpickling.
"""

from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.features.encoders import whisper, whisper_files
from asr.features.encoders.encoder import Encoder

__all__ = ["Encoder", "build_encoder", "open_encoder"]

MOST = 1 << 16  # limit of a size


def build_encoder(description: dict[str, Any]) -> Encoder:
    """The encoder of an `Encoder.description()`, with weights yet to be loaded.

    Raises ValueError or TypeError for one that is unknown or out of bounds.
    """
    sizes = dict(description)
    if (family := sizes.pop("family")) != "whisper":
        raise ValueError(f"there is no encoder {family!r}")
    if odd := [name for name, value in sizes.items() if type(value) is not int or not 0 < value <= MOST]:
        raise ValueError(f"the encoder's {odd[0]} is {sizes[odd[0]]!r}, expected 1 to {MOST}")
    return whisper.Whisper(whisper.Sizes(**sizes)).requires_grad_(False).eval()


def open_encoder(source: str | None) -> Encoder:
    """The encoder in the folder `source`, frozen.

    Raises InputError if there is none, or if a file is missing or damaged.
    """
    if source is None:
        raise InputError("features=pretrained needs an encoder; name its folder with features.encoder=DIR")
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(f"there is no folder {source} (features.encoder); name the folder of a Whisper model, "
                         "with model.bin (CTranslate2) or model.safetensors (Hugging Face)")  # fmt: skip
    return whisper_files.read(folder).requires_grad_(False).eval()
