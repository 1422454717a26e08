"""Linear net: the head of a pretrained encoder."""

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, TokenOutput


class LinearNet(nn.Module):
    """Each output frame is a linear function of `subsampling` frames. Without hidden layers: no width, no kernel."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling)
        self.output = TokenOutput(cfg.subsampling * num_features, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        return self.output(x), lengths
