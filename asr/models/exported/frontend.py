"""The front end in operations that ONNX has: the same features as asr.features.frontend, up to rounding."""

import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.features.frontend import FrontEnd
from asr.features.spectra import PREEMPHASIS, SAMPLE_SCALE, povey_window


class TracedFrontEnd(FrontEnd):
    """Pre-emphasis, window and Fourier transform are linear: here they are one matrix."""

    analysis: Tensor

    def __init__(self, cfg: FeaturesConfig, source: FrontEnd):
        """`source`: the front end of `cfg` with its statistics."""
        super().__init__(cfg)
        self.load_state_dict(source.state_dict())
        self.register_buffer("analysis", _analysis(self.window_samples, self.fft_samples).float(), persistent=False)

    def static(self, x: Tensor) -> Tensor:
        """As `FrontEnd.static`. Recordings shorter than one window get a frame, too; its length says that it is none.

        The frames are chosen by their numbers: the number of frames depends on the input, which a trace must keep.
        """
        x = nn.functional.pad(x, (0, self.window_samples))
        starts = torch.arange(0, x.shape[1] - self.window_samples + 1, self.shift_samples)
        frames = x[:, starts[:, None] + torch.arange(self.window_samples)]  # (N, F, W)
        frames = frames - frames.mean(2, keepdim=True)
        return frames if self.kind == "wave" else self.spectral(frames)

    def spectral(self, frames: Tensor) -> Tensor:
        """As `FrontEnd.spectral`, of frames without an offset."""
        energies = (frames * SAMPLE_SCALE @ self.analysis).square() @ self.filters
        features = energies.clamp(min=self.floor).log()
        return features @ self.cosines if self.kind == "mfcc" else features


def _analysis(window: int, fft: int) -> Tensor:
    """Samples of a frame -> real and imaginary parts of the spectrum, in turn: (W, fft + 2) float64."""
    unit = torch.eye(window, dtype=torch.float64)
    emphasised = (unit[:, 1:] - PREEMPHASIS * unit[:, :-1]) * povey_window(window)[1:]
    return torch.view_as_real(torch.fft.rfft(emphasised, fft)).flatten(1)
