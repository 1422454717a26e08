"""Linear net: the head of a pretrained encoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, TokenOutput
from asr.models.streaming import Net


class LinearNet(Net):
    """Each output frame is a linear function of `subsampling` frames. Without hidden layers: no width, no kernel."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.output = TokenOutput(cfg.subsampling * num_features, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        return self.output(x), lengths

    def chain(self) -> Sequence[nn.Module]:
        return self.stack, self.output
