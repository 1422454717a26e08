"""Attention over chunks of frames, with rotary or relative positions.

With limited context a frame reads the frames of its own chunk and `left` frames before that chunk. The masks of a whole
utterance and the keys that a stream remembers express the same context.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

BASE = 10000.0  # of the wavelengths of positions
Past = tuple[Tensor, Tensor]  # keys and values of the frames before, each (N, heads, P, d)


class Context(NamedTuple):
    chunk: int  # frames that are read together, counted from the beginning; 0: the whole utterance
    left: int  # frames before the chunk; 0: all


def visible(frames: int, context: Context, device: torch.device) -> Tensor:
    """Whether frame q reads frame k: (F, F) bool."""
    frame = torch.arange(frames, device=device)
    first = frame // context.chunk * context.chunk if context.chunk else torch.zeros_like(frame)  # of the chunk
    seen = frame < (first + (context.chunk or frames))[:, None]
    return seen & (frame >= (first - context.left)[:, None]) if context.left else seen


def angles(positions: Tensor, dim: int) -> Tensor:
    """Positions (P,) -> position / BASE^(i / half) for i < half = ceil(dim / 2): (P, half) float64."""
    half = (dim + 1) // 2
    return positions[:, None].double() * BASE ** -(torch.arange(half, device=positions.device).double() / half)


class Rotary(nn.Module):
    """Queries and keys are turned by angles that grow with their positions (Su et al. 2021, arXiv:2104.09864): their
    product depends on the distance alone."""

    def __init__(self, dim: int, heads: int):
        super().__init__()

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, None]:
        """Query (N, heads, Q, d), of the last frames of key (N, heads, K, d) -> both turned, no bias."""
        turn = angles(torch.arange(key.shape[2], device=key.device), key.shape[3])  # (K, d / 2)
        return turned(query, turn[key.shape[2] - query.shape[2] :]), turned(key, turn), None


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Each pair of values of x (N, heads, F, d), as a point in the plane, turned by `turn` (F, d / 2)."""
    cos, sin = turn.cos().to(x.dtype), turn.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Relative(nn.Module):
    """Sinusoids of the distance, compared with the query (Dai et al. 2019, arXiv:1901.02860, section 3.3): the score of
    query i and key j is (q_i + u) k_j + (q_i + v) W r_{i-j}."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.distance = nn.Linear(dim, dim, bias=False)  # W
        self.key_bias = nn.Parameter(torch.zeros(heads, 1, dim // heads))  # u
        self.distance_bias = nn.Parameter(torch.zeros(heads, 1, dim // heads))  # v

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query (N, heads, Q, d), of the last frames of key (N, heads, K, d) -> query, key, bias (N, heads, Q, K)."""
        queries, keys, dim = query.shape[2], key.shape[2], self.distance.in_features
        distances = torch.arange(queries + keys - 1, device=key.device) - (queries - 1)  # -(Q - 1) .. K - 1
        waves = angles(distances, dim)
        waves = torch.cat([waves.sin(), waves.cos()], 1)[:, :dim].to(key.dtype)  # (Q + K - 1, dim)
        r = self.distance(waves).reshape(-1, self.heads, dim // self.heads).transpose(0, 1)  # (heads, Q + K - 1, d)
        scores = (query + self.distance_bias) @ r.transpose(1, 2)  # (N, heads, Q, Q + K - 1)
        index = torch.arange(queries, device=key.device)[:, None] - torch.arange(keys, device=key.device) + keys - 1
        scores = scores.gather(3, index.expand(*scores.shape[:2], -1, -1))  # (N, heads, Q, K)
        return query + self.key_bias, key, scores / math.sqrt(query.shape[3])


POSITIONS = {"rotary": Rotary, "relative": Relative}


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(d) + bias) V in `heads` heads of d = dim / heads values (Vaswani et al. 2017)."""

    def __init__(self, dim: int, heads: int, positions: str, dropout: float):
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * dim)
        self.positions = POSITIONS[positions](dim, heads)
        self.output = nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor | None, past: Past) -> tuple[Tensor, Past]:
        """x (N, Q, H) after `past` of P frames; mask (N, 1, Q, P + Q), None: all -> (N, Q, H), keys and values."""
        query, key, value = (
            part.reshape(x.shape[0], -1, self.heads, x.shape[2] // self.heads).transpose(1, 2)
            for part in self.inputs(x).chunk(3, -1)
        )  # (N, heads, Q, d) each
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        q, k, bias = self.positions(query, key)
        if bias is not None and mask is not None:
            bias = bias.masked_fill(~mask, -math.inf)
        dropout = self.dropout if self.training else 0.0
        y = nn.functional.scaled_dot_product_attention(q, k, value, mask if bias is None else bias, dropout)
        return self.output(y.transpose(1, 2).flatten(2)), (key, value)

    def nothing(self, batch: int) -> Past:
        """The past of the first frame."""
        weight, dim = self.output.weight, self.output.in_features // self.heads  # weight: may be divided (FSDP)
        none = torch.zeros(
            batch, self.heads, 0, dim, dtype=weight.dtype, device=weight.device
        )  # whole if that is divided
        return none, none
