"""Convolutional net over time: residual blocks with dilated convolutions, similar to a TDNN.

With `bottleneck` each block's convolution is factorised (TDNN-F: Povey et al. 2018, "Semi-orthogonal low-rank matrix
factorization for deep neural networks"): it gives fewer values, from which a linear layer makes the others, and the
training keeps its weights semi-orthogonal.

Centred convolutions read `kernel // 2` frames to come and more in each block. With `lookahead`, the first convolutions
read the frames to come and the others the past alone.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.errors import InputError
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask
from asr.models.orthogonal import step_to_semi_orthogonal
from asr.models.streaming import Net, Remembering, cut


class ConvolutionalBlock(Remembering):
    """x + dropout(SiLU(conv(norm(x)))): (N, F, H) -> (N, F, H). With `bottleneck` a linear layer follows conv."""

    def __init__(
        self, dim: int, kernel: int, dilation: int, dropout: float, lookahead: int | None, bottleneck: int | None = None
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = MaskedConv(dim, bottleneck or dim, kernel, dilation, lookahead)
        widen = [nn.Linear(bottleneck, dim)] if bottleneck else []
        self.activation = nn.Sequential(*widen, nn.SiLU(), nn.Dropout(dropout))
        self.lookahead, self.before = self.conv.lookahead, self.conv.before

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
        if cfg.bottleneck is not None and cfg.bottleneck >= cfg.hidden:
            raise InputError(f"model.bottleneck={cfg.bottleneck} is not less than model.hidden={cfg.hidden}")
        self.bottleneck, self.subsampling = cfg.bottleneck, cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.first = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel, lookahead=cfg.lookahead)
        self.blocks, read = nn.ModuleList(), self.first.lookahead
        for i in range(cfg.layers):
            left = None if cfg.lookahead is None else cfg.lookahead - read
            block = ConvolutionalBlock(cfg.hidden, cfg.kernel, 1 + i % 2, cfg.dropout, left, cfg.bottleneck)
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

    @torch.no_grad()
    def constrain(self) -> None:
        if self.bottleneck:
            for block in cast(list[ConvolutionalBlock], list(self.blocks)):
                weight = block.conv.conv.weight  # (B, H, kernel)
                weight.copy_(step_to_semi_orthogonal(weight.flatten(1)).view_as(weight))

    def chain(self) -> Sequence[nn.Module]:
        return self.stack, self.first, *self.blocks, self.norm, self.output
