"""lhotse's Fbank, the front end of icefall's models: that of Kaldi over samples in [-1, 1], without cut edges.

A frame lies around the middle of each shift, so the first and the last reach beyond the recording, which is mirrored
there (Kaldi's snip_edges=false).
"""

import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.features.spectra import SAMPLE_SCALE, SoundFrontEnd


class LhotseFrontEnd(nn.Module):
    """One recording: samples (1, T), lengths (1,) -> (1, F, D), lengths (1,); F = (T + shift / 2) // shift."""

    def __init__(self, features: FeaturesConfig):
        super().__init__()
        self.kaldi = SoundFrontEnd(features)

    def num_frames(self, lengths: Tensor) -> Tensor:
        return (lengths + self.kaldi.shift_samples // 2) // self.kaldi.shift_samples

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        window, shift = self.kaldi.window_samples, self.kaldi.shift_samples
        samples, frames = x.shape[1], int(self.num_frames(lengths)[0])
        if not frames:
            return x.new_zeros(1, 0, self.kaldi.dim), self.num_frames(lengths)
        places = torch.arange((frames - 1) * shift + window, device=x.device) - (window - shift) // 2
        places = places % (2 * samples)  # forwards, backwards, forwards ...
        mirrored = x[:, torch.minimum(places, 2 * samples - 1 - places)] / SAMPLE_SCALE
        return self.kaldi(mirrored, torch.tensor([mirrored.shape[1]]))
