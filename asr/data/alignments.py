"""Alignments of utterances as a file: per utterance, the output that each frame belongs to, of HMMs or of a CTC net.

An `.npz` of numpy, without pickled objects: `ids` (N,) text, `first` (N + 1,) the first frame of each utterance, then
the number of all frames, and `outputs` (frames,) int32. `frame_s`, which files of HMMs lack, is the length of a frame
in seconds, if that is not the shift of the features.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.array_files import DAMAGE
from asr.errors import InputError
from asr.files import atomic_write

TABLE = "tokens.txt"  # of the outputs, beside the file


def write_alignments(
    path: str | Path, alignments: Mapping[str, NDArray[np.int32]], frame_s: float | None = None
) -> None:
    """Writes the paths (F,) by utterance id, atomically."""
    first = np.cumsum([0, *map(len, alignments.values())])
    outputs = np.concatenate([np.zeros(0, np.int32), *alignments.values()])
    with atomic_write(path, "wb") as file:
        length: dict[str, Any] = {} if frame_s is None else {"frame_s": np.array(frame_s)}
        np.savez(file, ids=np.array([*alignments], dtype=np.str_), first=first, outputs=outputs, **length)


def read_alignments(path: str | Path) -> dict[str, NDArray[np.int32]]:
    """The paths (F,) by utterance id. Raises InputError if the file cannot be read or is not of this form."""
    return read_timed(path)[0]


def read_timed(path: str | Path) -> tuple[dict[str, NDArray[np.int32]], float | None]:
    """As `read_alignments`, with the length of a frame in seconds; None for that of the features."""
    try:
        with np.load(path, allow_pickle=False) as data:
            ids, first, outputs = data["ids"], data["first"], data["outputs"]
            frame_s = float(data["frame_s"]) if "frame_s" in data else None
        fits = first.ndim == outputs.ndim == 1 and len(first) == len(ids) + 1 and first[-1] == len(outputs)
        fits &= ids.ndim == 1 and ids.dtype.kind == "U" and first.dtype.kind == "i" and outputs.dtype == np.int32
        if not fits or first[0] or (np.diff(first) < 0).any() or not (frame_s is None or 0 < frame_s < math.inf):
            raise ValueError("its arrays do not fit each other")
    except OSError as e:
        raise InputError(f"cannot read the alignments {path}: {e.strerror or e}; `asr hmm train` writes them") from e
    except DAMAGE as e:
        raise InputError(f"{path} does not hold alignments ({e}); `asr hmm train` writes them") from e
    return dict(zip(ids.tolist(), np.split(outputs, first[1:-1]), strict=True)), frame_s
