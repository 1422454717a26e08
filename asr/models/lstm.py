"""LSTM over subsampled frames, after one convolution: bidirectional, or one-directional for streams.

Each direction is a separate LSTM over the padded batch; the backward one reads every utterance reversed within its
length. On the CPU this is three times as fast as a packed bidirectional LSTM, with the same result.

With `bidirectional: false` the first convolution reads frames to come, and if `lookahead` is larger, a convolution over
the last LSTM's outputs reads the others: the lookahead convolution of Wang et al. 2016 in Deep Speech 2
(arXiv:1512.02595), r_t = sum_j w_j * h_{t+j} for each dimension.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.errors import InputError
from asr.models.intermediate import DeepNet, Intermediate
from asr.models.layers import FrameStack, MaskedConv, TokenOutput, frame_mask
from asr.models.streaming import FEW, Remembering


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


class OneDirectionalLayer(Remembering):
    """(N, F, D) -> (N, F, H)."""

    before = math.inf

    def __init__(self, dim: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ahead = nn.LSTM(dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, backwards: Tensor | None = None) -> Tensor:
        ahead, _ = self.ahead(self.norm(x))
        return self.dropout(ahead)

    def begin(self, batch: int) -> tuple[Tensor, Tensor]:
        """Hidden state and cell, each (1, N, H)."""
        zeros = self.norm.weight.new_zeros(1, batch, self.ahead.hidden_size)
        return zeros, zeros

    def advance(self, x: Tensor, memory: tuple[Tensor, Tensor], is_last: bool) -> tuple[Tensor, Any]:
        x = self.norm(x)
        ahead, memory = few_steps(self.ahead, x, *memory) if x.shape[1] < FEW else self.ahead(x, memory)
        return self.dropout(ahead), memory


def few_steps(lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`lstm` over a few frames (N, F, D), step by step -> (N, F, H) and its state."""
    weights: Any = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
    (hidden,), (cell,), ahead = hidden, cell, [x.new_zeros(len(x), 0, lstm.hidden_size)]
    for frame in x.unbind(1):
        hidden, cell = torch.lstm_cell(frame, (hidden, cell), *weights)
        ahead.append(hidden[:, None])
    return torch.cat(ahead, 1), (hidden[None], cell[None])


class LookaheadConv(MaskedConv):
    """Each dimension of a frame is a weighted sum over this frame and `frames` to come: (N, F, H) -> (N, F, H)."""

    def __init__(self, dim: int, frames: int):
        super().__init__(dim, dim, frames + 1, groups=dim)
        self.lookahead, self.before, self.padding = frames, 0, (0, frames)


class LstmNet(DeepNet):
    """Stacked frames, a first convolution, `layers` LSTM layers, and the lookahead convolution if there is one."""

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        if cfg.bidirectional and cfg.lookahead is not None:
            raise InputError(f"model.lookahead={cfg.lookahead} limits the frames to come, but a bidirectional LSTM "
                             "reads them all; set model.bidirectional=false, too")  # fmt: skip
        self.subsampling = cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.first = MaskedConv(cfg.subsampling * num_features, cfg.hidden, cfg.kernel, lookahead=cfg.lookahead)
        self.activation = nn.Sequential(nn.SiLU(), nn.Dropout(cfg.dropout))
        self.bidirectional = cfg.bidirectional
        layer, width = (BidirectionalLayer, 2 * cfg.hidden) if cfg.bidirectional else (OneDirectionalLayer, cfg.hidden)
        dims = [cfg.hidden] + [width] * cfg.layers
        self.layers = nn.ModuleList(layer(dim, cfg.hidden, cfg.dropout) for dim in dims[:-1])
        to_come = (cfg.lookahead or 0) - self.first.lookahead
        self.ahead = LookaheadConv(width, to_come) if to_come > 0 else None
        self.norm = nn.LayerNorm(width)
        self.output = TokenOutput(width, num_tokens)
        self.intermediate = Intermediate(cfg, width, num_tokens)

    def run(self, features: Tensor, lengths: Tensor, found: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        mask = frame_mask(lengths, x.shape[1])
        x = self.activation(self.first(x, mask))  # (N, F', H)
        backwards = reversed_index(lengths, x.shape[1])
        for number, layer in enumerate(self.layers, 1):
            x = self.intermediate(layer(x, backwards), number, self.classify, found)
        if self.ahead is not None:
            x = self.ahead(x, mask)
        return self.classify(x), lengths

    def classify(self, x: Tensor) -> Tensor:
        """Outputs of an LSTM layer (N, F', H) -> log-probs (N, F', V)."""
        return self.output(self.norm(x))

    def chain(self) -> Sequence[Callable[[Tensor], Tensor] | nn.Module]:
        if self.bidirectional:
            return ()
        layers: list[Callable[[Tensor], Tensor] | nn.Module] = [self.stack, self.first, self.activation]
        for number, layer in enumerate(self.layers, 1):
            layers += [layer, partial(self.intermediate, layer=number, output=self.classify)]
        return *layers, *([] if self.ahead is None else [self.ahead]), self.classify
