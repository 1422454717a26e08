"""E-Branchformer: attention and convolution side by side, then merged (Kim et al. 2022, arXiv:2210.00077).

    x = x + FeedForward(x) / 2;  g = Attention(x);  l = Gating(x)
    c = [g, l];  x = x + W (c + DepthwiseConv(c));  x = LayerNorm(x + FeedForward(x) / 2)

The branches are those of the Branchformer (Peng et al. 2022, arXiv:2207.02971). Streams, chunks, their draw in training
and the parts that it shares with it are those of the conformer (asr.models.conformer).
"""

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.attention import Attention, Context, Past
from asr.models.chunked import DepthwiseConv
from asr.models.conformer import WIDENING, ConformerNet, FeedForward


class Gating(nn.Module):
    """The local branch: half of the values, convolved over time, gate the other half: (N, F, H) -> (N, F, H).

    z = GELU(U x) = [a, b];  y = V (a * DepthwiseConv(LayerNorm(b))) (cgMLP: Sakuma et al. 2021). The convolution begins
    with weights near 0 and biases of 1, so that all gates are open (gMLP: Liu et al. 2021, arXiv:2105.08050).
    """

    def __init__(self, dim: int, kernel: int, is_causal: bool, dropout: float):
        super().__init__()
        half = WIDENING * dim // 2
        self.widen = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * half), nn.GELU())
        self.norm = nn.LayerNorm(half)
        self.depthwise = DepthwiseConv(half, kernel, is_causal)
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(half, dim), nn.Dropout(dropout))
        weight, bias = self.depthwise.parameters()
        nn.init.normal_(weight, std=1e-6)
        nn.init.ones_(bias)

    def forward(self, x: Tensor, valid: Tensor | None, past: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        """x (N, F, H), its valid frames (N, F, 1), None: all, and the frames before -> (N, F, H), past."""
        kept, gate = self.widen(x).chunk(2, -1)  # (N, F, 2 H) each
        gate, past = self.depthwise.advance(self.norm(gate), valid, past, chunk)
        return self.output(kept * gate), past


class EBranchformerBlock(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        dim = cfg.hidden
        self.first = FeedForward(dim, cfg.dropout)
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, cfg.heads, cfg.positions, cfg.dropout)
        self.dropout = nn.Dropout(cfg.dropout)
        self.gating = Gating(dim, cfg.kernel, cfg.causal, cfg.dropout)
        self.depthwise = DepthwiseConv(2 * dim, cfg.kernel, cfg.causal)
        self.merge = nn.Sequential(nn.Linear(2 * dim, dim), nn.Dropout(cfg.dropout))
        self.second = FeedForward(dim, cfg.dropout)
        self.last_norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        past: tuple[Past, tuple[Tensor, Tensor]],
        chunk: int,
        mask: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Past, tuple[Tensor, Tensor]]]:
        """x (N, F, H) after `past`; mask: (N, 1, F, P + F), frames that attention reads; valid: (N, F, 1)."""
        x = x + 0.5 * self.first(x)
        heard, keys = self.attention(self.norm(x), mask, past[0])
        near, gated = self.gating(x, valid, past[1][0], chunk)
        both = torch.cat([self.dropout(heard), near], -1)  # (N, F, 2 H)
        mixed, merged = self.depthwise.advance(both, valid, past[1][1], chunk)
        x = x + self.merge(both + mixed)
        return self.last_norm(x + 0.5 * self.second(x)), (keys, (gated, merged))

    def nothing(self, batch: int) -> tuple[Past, tuple[Tensor, Tensor]]:
        """The past of the first frame."""
        convolved = self.gating.depthwise.nothing(batch), self.depthwise.nothing(batch)
        return self.attention.nothing(batch), convolved

    def earliest(self, frames: np.ndarray, context: Context) -> np.ndarray:
        """The first frame that each of some frames of the output reads."""
        mixed = frames - self.depthwise.before
        return np.minimum(mixed // context.chunk * context.chunk - context.left, mixed - self.gating.depthwise.before)


class EBranchformerNet(ConformerNet):
    block = EBranchformerBlock
