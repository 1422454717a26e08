"""The forms in which a caller may give a recording: a path, the bytes of a file, an open file, samples, features."""

import math
import numbers
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import soxr
import torch

from asr.errors import InputError
from asr.features import audio
from asr.features.files import is_feature_file, load_features
from asr.features.mixing import Mixer

Input = str | Path | bytes | bytearray | memoryview | IO[bytes] | np.ndarray | torch.Tensor
Source = str | Path | bytes | np.ndarray  # the result of `source_of`

BLOCK_SAMPLES = 1 << 18  # of an array taken at a time

_FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}
_FLOATS = (np.float16, np.float32, np.float64)


def source_of(x: Any) -> Source:
    """A recording as a path, bytes or an array: open files are read to their end, tensors brought to the CPU.

    Raises InputError for anything that is not an `Input`.
    """
    if isinstance(x, (str, Path, bytes, np.ndarray)):
        return x
    if isinstance(x, bytearray | memoryview):
        return bytes(x)
    if isinstance(x, torch.Tensor):
        return _array_of(x)
    if isinstance(x, os.PathLike):
        return Path(x)
    if callable(getattr(x, "read", None)):
        return _bytes_of(x)
    raise InputError(
        "a recording is a path, bytes, an open binary file, a numpy array or a torch tensor, "
        f"not {type(x).__name__}; give one of these, or a list of them"
    )


def _array_of(x: torch.Tensor) -> np.ndarray:
    try:
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    except (TypeError, RuntimeError, NotImplementedError) as e:  # sparse, quantised, without memory
        raise InputError(f"the tensor of dtype {x.dtype} cannot become an array ({e}); give a dense one") from None


def _bytes_of(file: IO[bytes]) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as e:  # ValueError: closed, or text that is not UTF-8
        raise InputError(f"the open file cannot be read ({e}); open it with mode 'rb'") from None
    if not isinstance(data, bytes):
        raise InputError("the open file gives text, not bytes; open it with mode 'rb'")
    return data


def check_rate(sample_rate_hz: Any) -> None:
    """Raises InputError for a rate that no recording has. None is accepted."""
    least, most = audio.RATES_HZ
    if sample_rate_hz is None:
        return
    is_number = isinstance(sample_rate_hz, numbers.Real) and not isinstance(sample_rate_hz, bool)
    if not is_number or not least <= sample_rate_hz <= most or not math.isfinite(sample_rate_hz):
        raise InputError(f"sample_rate_hz={sample_rate_hz!r} must be a number from {least} to {most}")


def check_length(duration_s: float, limit_s: float) -> None:
    if duration_s > limit_s:
        raise InputError(
            f"the recording lasts {duration_s:.1f} s, more than {limit_s:g} s; cut it, or raise max_audio_s"
        )


def check_channel(channel: Any) -> None:
    """Raises InputError for what is not the number of a channel. None is accepted."""
    if channel is None:
        return
    if not isinstance(channel, numbers.Integral) or isinstance(channel, bool) or channel < 0:
        raise InputError(f"channel={channel!r} must be the number of a channel, from 0, or None for the mean of all")


def samples_of(x: np.ndarray, sample_rate_hz: float, wanted_hz: float, channel: int | None = None) -> np.ndarray:
    """Checked samples (T,) float32 in [-1, 1] at the wanted rate, from (T,) or (C, T); see `mono_blocks`."""
    mono = np.concatenate(list(mono_blocks(x, channel)))
    if sample_rate_hz != wanted_hz:
        mono = soxr.resample(mono, sample_rate_hz, wanted_hz)
    return np.clip(mono, -1.0, 1.0)


def mono_blocks(x: np.ndarray, channel: int | None = None) -> Iterator[np.ndarray]:
    """Checked samples (n,) float32, not clipped, from (T,) or (C, T), whose channels are averaged or one chosen.

    Floats are in [-1, 1]; int16, int32 and uint8 are scaled to that as audio files are. Raises InputError for other
    arrays, for samples that are not finite or far outside, and for channels that cancel each other.
    """
    x = np.asarray(x).astype(x.dtype.newbyteorder("="), copy=False)  # a matrix would stay two-dimensional
    is_shape = x.ndim == 1 or (x.ndim == 2 and len(x) <= x.shape[1])
    if not is_shape or not x.size or not (x.dtype in _FULL_SCALE or x.dtype == np.uint8 or x.dtype in _FLOATS):
        raise InputError(
            f"an array of samples has shape (T,) or (channels, T) and dtype float16, float32, float64, int16, int32 "
            f"or uint8, not {x.shape} {x.dtype}; transpose (T, channels), or average channels to one first"
        )
    x = np.atleast_2d(x)  # (C, T)
    mixer = Mixer("the array", len(x), channel)
    for block in np.array_split(x, math.ceil(x.shape[1] / BLOCK_SAMPLES), axis=1):  # views
        yield mixer.mix(_scaled(block).T)
    mixer.check()


def chunk_of(x: Any) -> np.ndarray:
    """Checked samples (T,) float32 of the next piece of a stream, not clipped; T may be 0.

    Takes the types that `mono_blocks` takes. Raises InputError for others, for several channels, and for samples that
    are not finite or far outside [-1, 1].
    """
    if isinstance(x, torch.Tensor):
        x = _array_of(x)
    if not isinstance(x, np.ndarray):
        raise InputError(
            f"a stream takes arrays or tensors of samples, not {type(x).__name__}; bytes of 16-bit PCM become one by "
            "numpy.frombuffer(data, numpy.int16)"
        )
    if x.ndim != 1 or not (x.dtype in _FULL_SCALE or x.dtype == np.uint8 or x.dtype in _FLOATS):
        raise InputError(
            "a stream takes samples of shape (T,) and dtype float16, float32, float64, int16, int32 or uint8, not "
            f"{x.shape} {x.dtype}; average channels to one first"
        )
    return _scaled(x.astype(x.dtype.newbyteorder("="), copy=False)) if len(x) else np.zeros(0, np.float32)


def _scaled(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / 128 - 1
    elif x.dtype in _FULL_SCALE:
        x = (x / _FULL_SCALE[x.dtype]).astype(np.float32)
    else:
        with np.errstate(over="ignore"):  # infinite values are refused below
            x = x.astype(np.float32)
    if not np.abs(x).max() <= audio.LOUDEST:  # NaN is not <= either
        raise InputError("the array holds NaN or samples far outside [-1, 1]; scale it, or pass int16")
    return x


def features_of(x: Source, dim: int) -> np.ndarray:
    """Checked features (F, D) float32."""
    if isinstance(x, bytes):
        raise InputError("this model takes stored features: give a feature file or an array (F, D), not bytes")
    if not isinstance(x, np.ndarray) and not is_feature_file(x):
        raise InputError(
            f"{x}: this model takes stored features ({dim} values per frame: num_bins={dim}), not audio; "
            "give a file x.ark:OFFSET, x.mfc or x.npy"
        )
    features = x if isinstance(x, np.ndarray) else load_features(x, dim)
    is_real = np.issubdtype(features.dtype, np.integer) or np.issubdtype(features.dtype, np.floating)
    if not is_real or features.ndim != 2 or features.shape[1] != dim or not np.isfinite(features).all():
        raise InputError(f"this model takes finite features of shape (F, {dim}), not {features.shape} {features.dtype}")
    return features.astype(np.float32)


def name_of(x: object, number: int) -> str:
    """The id of a recording: its file name without folder and suffix, or its place in the list."""
    return Path(x).stem if isinstance(x, (str, os.PathLike)) else str(number)
