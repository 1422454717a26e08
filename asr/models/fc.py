"""Fully connected net over spliced frames."""

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask


class FullyConnectedNet(nn.Module):
    """Each output frame sees `kernel` stacked frames around it; then `layers` dense layers with residual sums."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling)
        self.splice = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(cfg.hidden), nn.Linear(cfg.hidden, cfg.hidden), nn.SiLU(), nn.Dropout(cfg.dropout)
            )
            for _ in range(cfg.layers)
        )
        self.norm = nn.LayerNorm(cfg.hidden)
        self.output = TokenOutput(cfg.hidden, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        x = self.splice(x, frame_mask(lengths, x.shape[1]))  # (N, F', H)
        for layer in self.layers:
            x = x + layer(x)
        return self.output(self.norm(x)), lengths
