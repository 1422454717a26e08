"""Convolutional net over time: residual blocks with dilated convolutions, similar to a TDNN."""

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask


class ConvolutionalBlock(nn.Module):
    """x + dropout(SiLU(conv(norm(x)))): (N, F, H) -> (N, F, H)."""

    def __init__(self, dim: int, kernel: int, dilation: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = MaskedConv(dim, dim, kernel, dilation)
        self.activation = nn.Sequential(nn.SiLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.activation(self.conv(self.norm(x), mask))


class ConvolutionalNet(nn.Module):
    """Stacked frames, a first convolution, then `layers` residual blocks with dilations 1, 2, 1, 2, ..."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling)
        self.first = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel)
        self.blocks = nn.ModuleList(
            ConvolutionalBlock(cfg.hidden, cfg.kernel, 1 + i % 2, cfg.dropout) for i in range(cfg.layers)
        )
        self.norm = nn.LayerNorm(cfg.hidden)
        self.output = TokenOutput(cfg.hidden, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        mask = frame_mask(lengths, x.shape[1])  # (N, F', 1)
        x = self.first(x, mask)
        for block in self.blocks:
            x = block(x, mask)
        return self.output(self.norm(x)), lengths
