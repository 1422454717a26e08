"""Reading `model.bin` of CTranslate2 (faster-whisper's format), versions 5 and 6, without the library.

    version, name of the specification, revision, number of tensors
    per tensor: name, rank, dimensions, type, bytes, values

Numbers are little-endian; a name is its length in two bytes, then characters that end in NUL. Documented in
https://github.com/OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py.
"""

import mmap
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr.errors import InputError

VERSIONS = (5, 6)
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
MOST_DIMENSIONS = 8
LONGEST_NAME = 200


class _Reader:
    def __init__(self, data: memoryview, path: Path):
        self.data, self.path, self.at = data, path, 0

    def take(self, length: int) -> memoryview:
        if self.at + length > len(self.data):
            raise InputError(f"{self.path} ends within a tensor, at byte {self.at}; copy or download it again")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, form: str) -> int:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def name(self) -> str:
        name = bytes(self.take(self.number("<H"))).rstrip(b"\0").decode("utf-8", "replace")
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise InputError(f"{self.path}: the name before byte {self.at} is damaged; copy or download the file again")
        return name


def read(path: Path, specification: str, prefix: str) -> dict[str, Tensor]:
    """The float32 tensors whose names start with `prefix`, which is cut off; scalars have no dimension.

    Weights of 8 or 16 bits come with scales, and are divided by them. Raises InputError if the file cannot be read, is
    truncated, or holds another specification.
    """
    try:
        with path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}; expected a CTranslate2 model") from e
    reader = _Reader(mapped, path)
    version = reader.number("<I")
    if version not in VERSIONS:
        raise InputError(f"{path} is not a CTranslate2 model of version 5 or 6; convert the model again")
    if (found := reader.name()) != specification:
        raise InputError(f"{path} holds a {found}; expected a {specification}")
    reader.number("<I")  # revision
    tensors = {}
    for _ in range(reader.number("<I")):
        name = reader.name()
        rank = reader.number("B")
        if rank > MOST_DIMENSIONS:
            raise InputError(f"{path}: tensor '{name}' has {rank} dimensions; the file is damaged, copy it again")
        shape = [reader.number("<I") for _ in range(rank)]
        kind, data = reader.number("B"), reader.take(reader.number("<I"))
        if name.startswith(prefix):
            tensors[name.removeprefix(prefix)] = _tensor(name, shape, kind, data, path)
    return {name: _unscaled(name, tensor, tensors) for name, tensor in tensors.items() if not _is_scale(name)}


def _tensor(name: str, shape: list[int], kind: int, data: memoryview, path: Path) -> Tensor:
    if kind >= len(TYPES):
        raise InputError(
            f"{path}: tensor '{name}' is of type {kind}; expected float32, float16 or 8 to 32 bit integers"
        )
    values = np.frombuffer(data, np.dtype(TYPES[kind]).newbyteorder("<")) if len(data) else np.zeros(0)
    if values.size != np.prod(shape, dtype=object):
        raise InputError(f"{path}: tensor '{name}' has {values.size} values for the shape {shape}; copy the file again")
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _is_scale(name: str) -> bool:
    return name.endswith("_scale")


def _unscaled(name: str, tensor: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    scale = tensors.get(f"{name}_scale")
    return tensor if scale is None else tensor / scale.reshape(-1, *[1] * (tensor.ndim - 1))
