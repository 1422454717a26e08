"""Fully connected net over spliced frames."""

from collections.abc import Sequence

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask
from asr.models.streaming import Net


class DenseLayer(nn.Sequential):
    """x + dropout(SiLU(linear(norm(x)))): (N, F, H) -> (N, F, H)."""

    def __init__(self, dim: int, dropout: float):
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.SiLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class FullyConnectedNet(Net):
    """Each output frame sees `kernel` stacked frames around it; then `layers` dense layers with residual sums."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.splice = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel, lookahead=cfg.lookahead)
        self.layers = nn.ModuleList(DenseLayer(cfg.hidden, cfg.dropout) for _ in range(cfg.layers))
        self.norm = nn.LayerNorm(cfg.hidden)
        self.output = TokenOutput(cfg.hidden, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        x = self.splice(x, frame_mask(lengths, x.shape[1]))  # (N, F', H)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x)), lengths

    def chain(self) -> Sequence[nn.Module]:
        return self.stack, self.splice, *self.layers, self.norm, self.output
