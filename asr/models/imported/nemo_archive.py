"""NeMo's `.nemo` files: a tar archive, plain or in gzip, with the configuration, the weights and the tokenizer.

Nothing is unpacked into folders and nothing is unpickled: the weights are read by torch's weights-only loader.
"""

import gzip
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import yaml
from torch import Tensor

from asr.errors import InputError

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
MOST_UNPACKED = 20  # times the size of the file; weights hardly shrink in gzip
LEAST_UNPACKED = 64 << 20  # bytes that are always allowed
MOST_MEMBERS = 1000
MOST_CONFIG = 1 << 20  # bytes
_BLOCK = 1 << 20
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, OSError, ValueError, OverflowError)


@dataclass(frozen=True)
class Contents:
    config: dict[str, Any]
    weights: dict[str, Tensor]


def read(path: Path) -> Contents:
    """Raises InputError if the file is damaged, unsafe or too large, or if a member is missing."""
    try:
        with path.open("rb") as file, tempfile.TemporaryFile() as spare:
            plain = _unpacked(file, path, spare) if file.read(2) == b"\x1f\x8b" else file
            plain.seek(0)
            with tarfile.open(fileobj=plain, mode="r:") as archive:
                members = _members(archive, path)
                config = _config(_open(archive, members, CONFIG, path), path)
                return Contents(config, _weights(_open(archive, members, WEIGHTS, path), path))
    except _DAMAGED as e:
        raise InputError(f"{path} is not a .nemo file or is damaged ({e}); copy or download it again") from e


def _unpacked(file: IO[bytes], path: Path, target: IO[bytes]) -> IO[bytes]:
    """The content of a file in gzip, written to `target`."""
    limit = max(LEAST_UNPACKED, MOST_UNPACKED * path.stat().st_size)
    file.seek(0)
    with gzip.open(file) as packed:
        while block := packed.read(_BLOCK):
            target.write(block)
            if target.tell() > limit:
                raise InputError(f"{path} unpacks to more than {limit} bytes; a model does not shrink that far")
    return target


def _members(archive: tarfile.TarFile, path: Path) -> dict[str, tarfile.TarInfo]:
    """The files by name. Raises InputError for anything but plain files and folders within the archive."""
    files: dict[str, tarfile.TarInfo] = {}
    for number, member in enumerate(archive):
        name = member.name.removeprefix("./")
        is_plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) and not member.issparse()
        if not is_plain or name.startswith("/") or ".." in name.split("/") or number >= MOST_MEMBERS:
            raise InputError(f"{path}: member {name!r:.100} is a link, outside the archive or one of too many; "
                             "a model needs no such member")  # fmt: skip
        if name in files:
            raise InputError(f"{path}: member {name!r:.100} occurs twice; save the model again")
        if member.isfile():
            files[name] = member
    return files


def _open(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, path: Path) -> IO[bytes]:
    if name not in members:
        raise InputError(f"{path} has no {name}; it holds {', '.join(map(repr, sorted(members)[:5])) or 'no file'}")
    file = archive.extractfile(members[name])
    assert file is not None  # a plain file
    return file


def _config(file: IO[bytes], path: Path) -> dict[str, Any]:
    data = file.read(MOST_CONFIG + 1)
    try:
        found = yaml.safe_load(data.decode()) if len(data) <= MOST_CONFIG else None
    except (ValueError, RecursionError, yaml.YAMLError) as e:
        raise InputError(f"{path}: {CONFIG} is not YAML ({' '.join(str(e).split()):.200})") from e
    if not isinstance(found, dict):
        raise InputError(f"{path}: {CONFIG} does not describe a model; copy or download the file again")
    return found


def _weights(file: IO[bytes], path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(file) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise InputError(f"{path}: {WEIGHTS} is compressed, which torch never does; download the file again")
        file.seek(0)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as e:  # damaged and forbidden contents raise errors of many kinds
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise InputError(f"{path}: {WEIGHTS} holds more than weights, or is damaged ({reason:.200})") from e
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
        raise InputError(f"{path}: {WEIGHTS} is not a table of tensors; save the model again")
    if any(x.numel() * x.element_size() > x.untyped_storage().nbytes() for x in found.values()):
        raise InputError(f"{path}: a tensor of {WEIGHTS} is larger than its values; save the model again")
    return found
