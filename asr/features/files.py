"""Reading features computed elsewhere: Kaldi archives, Sphinx cepstra, numpy arrays."""

import io
import os
from pathlib import Path

import numpy as np

from asr.errors import InputError
from asr.literals import parse_digits

SPHINX_DIM = 13
KEY_BYTES = 160  # that `asr features` writes behind an array (asr.data.extract)


def load_features(path: str | Path, dim: int | None = None) -> np.ndarray:
    """Features (F, D) float32 from `x.ark:OFFSET` (Kaldi), `x.mfc` (Sphinx) or `x.npy` (numpy).

    `dim` is the D expected; None: any, and 13 in `x.mfc`, which does not say. Raises InputError if the file is missing,
    has another format or dimension, is truncated, or holds NaN or infinity.
    """
    path = str(path)
    file, offset = _split_offset(path)
    if not Path(file).is_file():
        raise InputError(f"the feature file {file} does not exist; check the path")
    if offset is not None:
        features = _load_ark(file, offset)
    elif path.endswith(".mfc"):
        features = _load_sphinx(path, dim or SPHINX_DIM)
    elif path.endswith(".npy"):
        features = _load_numpy(path)
    else:
        raise InputError(
            f"{path} is not a feature file; expected x.ark:OFFSET (Kaldi), x.mfc (Sphinx) or x.npy (numpy)"
        )
    if features.ndim != 2 or features.dtype.kind not in "iuf":
        raise InputError(
            f"{path} holds {features.dtype} of shape {features.shape}; expected numbers of shape (frames, dimension)"
        )
    if dim and features.shape[1] != dim:
        found = features.shape[1]
        raise InputError(f"{path} holds {found} values per frame, not {dim}; set features.num_bins={found}")
    features = np.array(features, np.float32, order="C")  # a copy: mapped files are not kept open
    if not np.isfinite(features).all():
        frame = int(np.flatnonzero(~np.isfinite(features).all(1))[0])
        raise InputError(f"{path} holds NaN or infinity in frame {frame}; make the features again")
    return features


def cepstra_to_bands(cepstra: np.ndarray, bands: int = 40) -> np.ndarray:
    """Cepstra (F, C) -> smooth log-mel bands (F, bands).

    Inverts Sphinx's c_k = mean_b x_b cos(pi k (b + .5) / bands) without loss, so that SpecAugment can mask bands.
    """
    order = np.arange(cepstra.shape[1])[:, None]  # (C, 1)
    basis = np.cos(np.pi * order * (np.arange(bands) + 0.5) / bands) * np.where(order == 0, 1, 2)  # (C, bands)
    return (cepstra @ basis).astype(np.float32)


def is_feature_file(path: str | Path) -> bool:
    """Whether the name is that of a feature file."""
    return str(path).endswith((".mfc", ".npy")) or _split_offset(str(path))[1] is not None


def _split_offset(path: str) -> tuple[str, int | None]:
    """File and offset of `x.ark:OFFSET`; any other path without an offset."""
    file, _, offset = path.rpartition(":")
    number = parse_digits(offset) if file.endswith(".ark") else None
    return (path, None) if number is None else (file, number)


class _ShortReads(io.BufferedReader):
    """A file whose reads take no more memory than the file is long, whatever size a header asks for."""

    def read(self, size: int | None = -1) -> bytes:
        length = os.fstat(self.fileno()).st_size
        return super().read(length if size is None or size < 0 else min(size, length))


def _load_ark(path: str, offset: int) -> np.ndarray:
    from kaldiio.matio import read_kaldi

    with _ShortReads(io.FileIO(path)) as file:
        file.seek(offset)
        head = file.read(3)
        file.seek(offset)
        # Accept only Kaldi matrices, binary or text: read_kaldi would also unpickle Python objects.
        if not (head.startswith(b"\0B") or head.strip().startswith(b"[")):
            raise InputError(f"{path}:{offset} is not a Kaldi matrix; use the offset in the scp file")
        try:
            return np.asarray(read_kaldi(file))
        except Exception as e:  # read_kaldi raises errors of many kinds
            raise InputError(f"the Kaldi matrix {path}:{offset} is damaged or truncated ({e!r}); copy it again") from e


def _load_sphinx(path: str, dim: int) -> np.ndarray:
    """An int32 count of float32 values, then the values; the byte order is the one whose count fits the file size."""
    data = Path(path).read_bytes()
    values = len(data) // 4 - 1
    for order in (">", "<"):
        if len(data) % 4 == 0 and values >= 0 and int(np.frombuffer(data, order + "i4", 1)[0]) == values:
            if values % dim:
                raise InputError(
                    f"{path} holds {values} values, not a multiple of the dimension {dim}; correct features.num_bins"
                )
            return np.frombuffer(data, order + "f4", offset=4).reshape(-1, dim)
    raise InputError(f"{path} has {len(data)} bytes, which disagrees with the count in its first four; copy it again")


def _load_numpy(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path} is not an array saved by numpy.save; convert it")
    try:
        # Mapping compares the header with the size of the file before it takes any memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as e:  # a header is parsed as Python, with errors of many kinds
        raise InputError(f"cannot read {path}: {e}; expected an array saved by numpy.save") from e
    if isinstance(array, np.memmap):
        behind = os.path.getsize(path) - array.offset - array.nbytes
        if behind not in (0, KEY_BYTES):
            raise InputError(f"{path} holds more than one array; expected one saved by numpy.save")
    return array
