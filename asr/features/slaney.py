"""Slaney's mel filters, which Whisper and NeMo share."""

import math

import torch
from torch import Tensor


def slaney_filters(bands: int, fft: int, rate_hz: int) -> Tensor:
    """Triangular filters of unit area on Slaney's mel scale, linear below 1 kHz: (bands, fft / 2 + 1) float64.

    Slaney 1998, Auditory Toolbox; the default of librosa.
    """
    step = math.log(6.4) / 27
    top = 15 + math.log(rate_hz / 2 / 1000) / step
    mel = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    points = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp(step * (mel - 15)))
    left, centre, right = points[:-2, None], points[1:-1, None], points[2:, None]
    hz = torch.linspace(0, rate_hz / 2, fft // 2 + 1, dtype=torch.float64)
    filters = torch.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)).clamp(min=0)
    return filters * 2 / (right - left)
