"""Files of neural language models, and resume points: safetensors whose metadata has one entry, `asr`, a JSON object.

    format   `neural lm 1`
    sha256   of the tensors and the data
    data     for a model its shape, its words, and how many different words of the training text are unknown

Several entries would stand in an order that changes from run to run, and equal models must give equal files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr.bounds import complaint
from asr.errors import InputError
from asr.files import atomic_write
from asr.literals import parse_json
from asr.lm.model import Vocabulary
from asr.lm.neural.net import END_ID, UNKNOWN_ID, Net, Shape
from asr.words import END, UNKNOWN

FORMAT = "neural lm 1"
MOST_BYTES = 4 << 30
_BOUNDS = {"num_words": "[3, 1e7]", "hidden": "[1, 8192]", "layers": "[1, 16]"}


@dataclass(frozen=True)
class NeuralModel:
    net: Net
    shape: Shape
    vocabulary: Vocabulary  # by id: `</s>`, `<unk>`, then the others, the most frequent first
    num_unknown: int  # different words of the training text that are not in the vocabulary


def write(path: str | Path, model: NeuralModel) -> None:
    data = {"shape": asdict(model.shape), "words": model.vocabulary.words, "unknown": model.num_unknown}
    write_tensors(path, model.net.state_dict(), data)


def read(path: str | Path) -> NeuralModel:
    """Raises InputError for a file that is missing, damaged, or not such a model."""
    return parse(read_bytes(path), path)


def parse(content: bytes, path: str | Path) -> NeuralModel:
    """The model in the content of a file, which is named in errors."""
    tensors, data = parse_tensors(content, path)
    try:
        shape = Shape(**data["shape"])
        for name, within in _BOUNDS.items():
            if wrong := complaint(getattr(shape, name), int, within):
                raise ValueError(f"{name}: {wrong}")
        words, unknown = data["words"], data["unknown"]
        if len(words) != shape.num_words or len(set(words)) < len(words) or not all(type(w) is str for w in words):
            raise ValueError("its list of words does not fit its shape")
        if (words[END_ID], words[UNKNOWN_ID]) != (END, UNKNOWN) or complaint(unknown, int, "[0, inf)"):
            raise ValueError("its words do not begin with </s> and <unk>")
        if shape.layers > len(tensors):
            raise ValueError("it has fewer tensors than layers")
        with torch.device("meta"):
            wanted = {name: (t.shape, t.dtype) for name, t in Net(shape).state_dict().items()}
        if wanted != {name: (t.shape, t.dtype) for name, t in tensors.items()}:
            raise ValueError("its tensors do not fit its shape")
        net = Net(shape)
        net.load_state_dict(tensors)
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} is not a neural language model ({e}); train it again with `asr lm train`") from None
    return NeuralModel(net.eval(), shape, Vocabulary(words), unknown)


def is_neural(path: str | Path) -> bool:
    """Whether a file is a model that `write` wrote, by its content. False for a pipe, which can be read only once."""
    return format_of(path) == FORMAT


def format_of(path: str | Path) -> str | None:
    """The format of a file that `write_tensors` wrote; None for others, and for a pipe, which can be read only once."""
    if not Path(path).is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return str(_described(file.metadata() or {})["format"])
    except (OSError, SafetensorError, ValueError, KeyError):
        return None


def format_in(content: bytes) -> str | None:
    """As `format_of`, by the content of a file."""
    try:
        return str(_header(content)["format"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], data: Mapping[str, Any], format: str = FORMAT
) -> None:
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"format": format, "sha256": _digest(kept, data), "data": data}
    metadata = {"asr": json.dumps(about, ensure_ascii=False)}
    with atomic_write(path, "wb") as file:
        file.write(safetensors.torch.save(kept, metadata))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Raises InputError for a file that `write_tensors` did not write, or whose content has changed since."""
    return parse_tensors(read_bytes(path), path)


def read_bytes(path: str | Path) -> bytes:
    try:
        if (size := Path(path).stat().st_size) > MOST_BYTES:
            raise InputError(f"{path} has {size} bytes, more than the limit of {MOST_BYTES}")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no language model {path}; `asr lm train kind=neural` writes one") from None
    except OSError as e:
        raise InputError(f"cannot read the language model {path}: {e.strerror or e}") from e


def parse_tensors(content: bytes, path: str | Path, format: str = FORMAT) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `read_tensors`, of the content of a file."""
    try:
        tensors = safetensors.torch.load(content)  # checks the header
        about = _header(content)
        if about["format"] != format:
            raise ValueError(f"its format is {about['format']}, expected {format}")
        if _digest(tensors, about["data"]) != about["sha256"]:
            raise ValueError("its content has changed since it was written")
    except (SafetensorError, ValueError, KeyError) as e:
        how = "train it with `asr lm train kind=neural`" if format == FORMAT else "make it with `asr lm convert`"
        raise InputError(f"{path} is not a neural language model or is damaged ({e}); copy it again, or "
                         f"{how}") from None  # fmt: skip
    return tensors, about["data"]


def _header(content: bytes) -> dict[str, Any]:
    """The description in the header, which begins with its length."""
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return _described(header.get("__metadata__", {}))


def _described(metadata: Mapping[str, str]) -> dict[str, Any]:
    about = parse_json(metadata["asr"])
    if not isinstance(about, dict) or not isinstance(about.get("data"), dict):
        raise ValueError("its description is not what `asr lm train` writes")
    return about


def _digest(tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(data, ensure_ascii=False, sort_keys=True).encode(errors="surrogatepass"))
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
