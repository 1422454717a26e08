"""Models of plain numbers as files: compressed npz with checksums, whose members are numeric arrays. Nothing is
unpickled."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr.errors import InputError
from asr.files import atomic_write

T = TypeVar("T")
DAMAGE = (OSError, MemoryError, RuntimeError, ValueError, TypeError, LookupError, EOFError, AttributeError, zlib.error,
          zipfile.BadZipFile)  # what reading a damaged npz may raise  # fmt: skip


def write_arrays(path: str | Path, members: Mapping[str, np.ndarray]) -> None:
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **members)  # type: ignore[arg-type]


def read_arrays(
    path: str | Path, parse: Callable[[Mapping[str, np.ndarray]], T], most_bytes: int, what: str, writer: str
) -> T:
    """What `parse` makes of the arrays by name, which have at most `most_bytes` unpacked. `parse` may raise ValueError,
    LookupError and the like for arrays that are inconsistent.

    Raises InputError naming a file that is missing, is not `what`, or is damaged; `writer` is the command that writes
    one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > most_bytes:
                raise ValueError(f"its arrays have {size} bytes, more than {most_bytes}")
        with np.load(path, allow_pickle=False) as members:
            return parse({name: members[name] for name in members.files})
    except FileNotFoundError as e:
        raise InputError(f"there is no {what} {path}; `{writer}` writes one") from e
    except DAMAGE as e:
        raise InputError(f"{path} is not a {what} or is damaged ({e}); `{writer}` writes one") from e
