"""What a caller may give as a recording: a path, the bytes of a file, samples, features."""

from pathlib import Path

import numpy as np
import soxr

from asr.errors import InputError
from asr.features import audio
from asr.features.files import is_feature_file, load_features

Input = str | Path | bytes | np.ndarray


def check_length(duration_s: float, limit_s: float) -> None:
    if duration_s > limit_s:
        raise InputError(
            f"the recording lasts {duration_s:.1f} s, more than {limit_s:g} s; cut it, or raise max_audio_s"
        )


def samples_of(x: np.ndarray, sample_rate_hz: int, wanted_hz: int) -> np.ndarray:
    """Checked samples (T,) float32 at the rate wanted."""
    if x.ndim != 1 or x.dtype not in (np.int16, np.float32, np.float64) or not len(x):
        raise InputError(
            f"an array of samples has shape (T,) and dtype float32, float64 or int16, not {x.shape} {x.dtype}; "
            "average channels to one first"
        )
    x = x.astype(np.float32) / 32768 if x.dtype == np.int16 else x.astype(np.float32)
    if not np.abs(x).max() <= audio.LOUDEST:  # NaN is not <= either
        raise InputError("the array holds NaN or samples far outside [-1, 1]; scale it, or pass int16")
    if sample_rate_hz != wanted_hz:
        x = soxr.resample(x, sample_rate_hz, wanted_hz)
    return np.clip(x, -1.0, 1.0)


def features_of(x: Input, dim: int) -> np.ndarray:
    """Checked features (F, D) float32."""
    if isinstance(x, bytes):
        raise InputError("this model hears stored features: give a feature file or an array (F, D), not bytes")
    if not isinstance(x, np.ndarray) and not is_feature_file(x):
        raise InputError(
            f"{x}: this model hears stored features ({dim} values a frame: num_bins={dim}), not audio; "
            "give a file x.ark:OFFSET, x.mfc or x.npy"
        )
    features = x.astype(np.float32) if isinstance(x, np.ndarray) else load_features(x, dim)
    if features.ndim != 2 or features.shape[1] != dim or not np.isfinite(features).all():
        raise InputError(f"this model hears finite features of shape (F, {dim}), not {features.shape}")
    return features


def name_of(x: Input, number: int) -> str:
    """The id of a recording: its file name without folder and ending, or its place in the list."""
    return Path(x).stem if isinstance(x, (str, Path)) else str(number)
