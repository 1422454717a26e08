"""Convolutional net over time: residual blocks with dilated convolutions, similar to a TDNN.

Centred convolutions read `kernel // 2` frames to come and more in each block. With `lookahead`, the first convolutions
read the frames to come and the others the past alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask
from asr.models.streaming import Net, Remembering, cut


class ConvolutionalBlock(Remembering):
    """x + dropout(SiLU(conv(norm(x)))): (N, F, H) -> (N, F, H)."""

    def __init__(self, dim: int, kernel: int, dilation: int, dropout: float, lookahead: int | None):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = MaskedConv(dim, dim, kernel, dilation, lookahead)
        self.activation = nn.Sequential(nn.SiLU(), nn.Dropout(dropout))
        self.lookahead = self.conv.lookahead

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.activation(self.conv(self.norm(x), mask))

    def begin(self, batch: int) -> tuple[Tensor, Tensor]:
        """The frames that wait for their sum, and the memory of the convolution."""
        before = self.conv.begin(batch)
        return before[:, :0], before

    def advance(self, x: Tensor, memory: tuple[Tensor, Tensor], is_last: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        waiting, before = memory
        change, before = self.conv.advance(self.norm(x), before, is_last)
        x, waiting = cut(torch.cat([waiting, x], 1), change.shape[1])
        return x + self.activation(change), (waiting, before)


class ConvolutionalNet(Net):
    """Stacked frames, a first convolution, then `layers` residual blocks with dilations 1, 2, 1, 2, ..."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.first = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel, lookahead=cfg.lookahead)
        self.blocks, read = nn.ModuleList(), self.first.lookahead
        for i in range(cfg.layers):
            left = None if cfg.lookahead is None else cfg.lookahead - read
            block = ConvolutionalBlock(cfg.hidden, cfg.kernel, 1 + i % 2, cfg.dropout, left)
            self.blocks.append(block)
            read += block.lookahead
        self.norm = nn.LayerNorm(cfg.hidden)
        self.output = TokenOutput(cfg.hidden, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        mask = frame_mask(lengths, x.shape[1])  # (N, F', 1)
        x = self.first(x, mask)
        for block in self.blocks:
            x = block(x, mask)
        return self.output(self.norm(x)), lengths

    def chain(self) -> Sequence[nn.Module]:
        return self.stack, self.first, *self.blocks, self.norm, self.output
