"""How far speech stands above the noise, told from the sound alone."""

import numpy as np

FRAME_S = 0.02
FLOOR_DB = -100.0  # of a frame; digital silence has none


def snr_db(samples: np.ndarray, rate_hz: int) -> float | None:
    """Level of the loud frames above the soft ones, in dB: the 95th percentile of the frames' levels less the 10th.

    An estimate, for comparing recordings with each other: steady noise under speech with pauses is measured well, while
    speech without any pause seems noisier than it is. None if there is no whole frame of 20 ms.
    """
    size = max(1, round(FRAME_S * rate_hz))
    num_frames = len(samples) // size
    if not num_frames:
        return None
    frames = samples[: num_frames * size].reshape(num_frames, size)
    power = np.einsum("fs,fs->f", frames, frames) / size  # (F,)
    levels = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))
    loud, soft = np.percentile(levels, [95, 10])
    return float(loud - soft)
