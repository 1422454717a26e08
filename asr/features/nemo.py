"""NeMo's front end (AudioToMelSpectrogramPreprocessor in evaluation): samples -> normalised log-mel energies.

Pre-emphasis over the whole signal, a Hann window of 25 ms centred in 512 samples around each multiple of 10 ms,
Slaney's mel filters over the power spectrum, log(x + 2^-24), and mean and deviation per band over the recording.
"""

import torch
from torch import Tensor, nn

from asr.features.slaney import slaney_filters

PREEMPHASIS = 0.97
FFT = 512  # samples
WINDOW_S, SHIFT_S = 0.025, 0.01
GUARD = 2.0**-24  # added to each energy
QUIET = 1e-5  # added to the deviation


class NemoFrontEnd(nn.Module):
    """One recording: samples (1, T), lengths (1,) -> (1, F, D), lengths (1,); F = T // shift."""

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int, rate_hz: int, normalised: bool):
        super().__init__()
        self.shift, self.normalised = round(SHIFT_S * rate_hz), normalised
        window = torch.hann_window(round(WINDOW_S * rate_hz), periodic=False)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", slaney_filters(bands, FFT, rate_hz).float(), persistent=False)

    def num_frames(self, lengths: Tensor) -> Tensor:
        return lengths // self.shift

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames = int(self.num_frames(lengths)[0])
        x = torch.cat([x[:, :1], x[:, 1:] - PREEMPHASIS * x[:, :-1]], 1)
        spectrum = torch.stft(x, FFT, self.shift, len(self.window), self.window, pad_mode="constant",
                              return_complex=True)[:, :, :frames]  # fmt: skip
        energies = self.filters @ spectrum.abs().square()  # (1, D, F)
        y = (energies + GUARD).log()
        if self.normalised:
            deviation = y.std(2, keepdim=True) if frames > 1 else y.new_zeros(1, len(self.filters), 1)
            y = (y - y.mean(2, keepdim=True)) / (deviation + QUIET)
        return y.transpose(1, 2), self.num_frames(lengths)
