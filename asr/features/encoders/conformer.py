"""The encoder of NeMo's Conformer-CTC and FastConformer-CTC models and of Parakeet: samples at 16 kHz -> 25 or 12.5
vectors per second (Gulati et al. 2020, arXiv:2005.08100; Rekesh et al. 2023, arXiv:2305.05084).

Modules and tensors have NeMo's names, but for `blocks`, its `layers`.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asr.features.encoders.encoder import Encoder
from asr.features.nemo import NemoFrontEnd

RATE_HZ = 16000
PERIODS = 10000.0  # range of the sinusoids that encode a distance
MOST_HALVINGS = 6
SWITCHES = ("separable", "scaled", "biased", "normalised")  # fields of `Sizes` that are 0 or 1


@dataclass(frozen=True)
class Sizes:
    """`bands` of the log-mel spectrum, `halvings` of the frame rate by convolutions with `channels`, `dim` values per
    frame, `hidden` ones in a feed-forward part, `kernel` frames in a convolution.

    Switches: `separable` convolutions halve the rate (NeMo's dw_striding), frames are `scaled` by sqrt(dim),
    projections are `biased`, features are `normalised` per recording.
    """

    bands: int
    halvings: int
    channels: int
    dim: int
    heads: int
    layers: int
    hidden: int
    kernel: int
    separable: int
    scaled: int
    biased: int
    normalised: int


def description_of(sizes: Sizes) -> dict[str, Any]:
    """What `build_encoder` makes a `Conformer` from."""
    return {"family": "conformer", **dataclasses.asdict(sizes)}


class Conformer(Encoder):
    """samples (T,) -> (F, D), F = ceil(T // 160 / 2^halvings): the output of `layer`.

    Features of recordings longer than `WINDOW_S` are normalised within each window.
    """

    def __init__(self, sizes: Sizes):
        """Raises ValueError for sizes that do not fit each other."""
        super().__init__()
        if sizes.dim % sizes.heads or sizes.dim % 2 or not sizes.kernel % 2 or sizes.halvings > MOST_HALVINGS:
            raise ValueError(f"{sizes.dim} values in {sizes.heads} heads, a kernel of {sizes.kernel} frames, "
                             f"{sizes.halvings} halvings")  # fmt: skip
        self.sizes, self.rate_hz, self.dim, self.layers = sizes, RATE_HZ, sizes.dim, sizes.layers
        self.mel = NemoFrontEnd(sizes.bands, RATE_HZ, bool(sizes.normalised))
        self.shift_samples, self.spare_samples = self.mel.shift << sizes.halvings, 0
        self.pre_encode = Subsampling(sizes)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))

    def description(self) -> dict[str, Any]:
        return description_of(self.sizes)

    def num_frames(self, samples: int) -> int:
        return -(-(samples // self.mel.shift) >> self.sizes.halvings)

    def encode_window(self, x: Tensor, *layers: int) -> Tensor:
        features, _ = self.mel(x[None], torch.tensor([len(x)]))  # (1, F0, bands)
        y = self.pre_encode(features)
        if self.sizes.scaled:
            y = y * math.sqrt(self.dim)
        distances = encode_distances(y.shape[1], self.dim).to(y)
        outputs = [y]
        for block in self.blocks[: max(layers)]:
            outputs.append(block(outputs[-1], distances))
        return torch.cat([outputs[layer][0] for layer in layers], 1)


class Subsampling(nn.Module):
    """Convolutions over the spectrum, each of which halves frames and bands: (1, F0, bands) -> (1, F, D)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width = sizes.channels
        parts: list[nn.Module] = [nn.Conv2d(1, width, 3, 2, padding=1), nn.ReLU()]
        for _ in range(sizes.halvings - 1):
            parts.append(nn.Conv2d(width, width, 3, 2, padding=1, groups=width if sizes.separable else 1))
            parts += [nn.Conv2d(width, width, 1), nn.ReLU()] if sizes.separable else [nn.ReLU()]
        self.conv = nn.Sequential(*parts)
        self.out = nn.Linear(width * -(-sizes.bands >> sizes.halvings), sizes.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x[:, None]).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """(1, F, D), encoded distances (2 F - 1, D) -> (1, F, D)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        dim = sizes.dim
        self.norm_feed_forward1, self.feed_forward1 = nn.LayerNorm(dim), FeedForward(sizes)
        self.norm_self_att, self.self_attn = nn.LayerNorm(dim), Attention(sizes)
        self.norm_conv, self.conv = nn.LayerNorm(dim), Convolution(sizes)
        self.norm_feed_forward2, self.feed_forward2 = nn.LayerNorm(dim), FeedForward(sizes)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, x: Tensor, distances: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward1(self.norm_feed_forward1(x))
        x = x + self.self_attn(self.norm_self_att(x), distances)
        x = x + self.conv(self.norm_conv(x))
        x = x + 0.5 * self.feed_forward2(self.norm_feed_forward2(x))
        return self.norm_out(x)


class FeedForward(nn.Module):
    def __init__(self, sizes: Sizes):
        super().__init__()
        self.linear1 = nn.Linear(sizes.dim, sizes.hidden, bool(sizes.biased))
        self.linear2 = nn.Linear(sizes.hidden, sizes.dim, bool(sizes.biased))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(nn.functional.silu(self.linear1(x)))


class Attention(nn.Module):
    """Attention to contents and distances (Transformer-XL, Dai et al. 2019, arXiv:1901.02860, section 3.3)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        dim, self.heads = sizes.dim, sizes.heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(dim, dim, bool(sizes.biased)) for _ in range(4)
        )
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u, self.pos_bias_v = (nn.Parameter(torch.zeros(self.heads, dim // self.heads)) for _ in range(2))

    def forward(self, x: Tensor, distances: Tensor) -> Tensor:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)  # (..., F, D) -> (..., H, F, D / H)

        q, k, v = heads(self.linear_q(x)), heads(self.linear_k(x)), heads(self.linear_v(x))
        by_distance = (q + self.pos_bias_v[:, None]) @ heads(self.linear_pos(distances)).transpose(-1, -2)
        bias = _shifted(by_distance) / math.sqrt(q.shape[-1])
        mixed = nn.functional.scaled_dot_product_attention(q + self.pos_bias_u[:, None], k, v, attn_mask=bias)
        return self.linear_out(mixed.transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    def __init__(self, sizes: Sizes):
        super().__init__()
        dim, biased = sizes.dim, bool(sizes.biased)
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=biased)
        self.depthwise_conv = nn.Conv1d(dim, dim, sizes.kernel, padding=sizes.kernel // 2, groups=dim, bias=biased)
        self.batch_norm = nn.BatchNorm1d(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=biased)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.glu(self.pointwise_conv1(x.transpose(1, 2)), 1)
        y = nn.functional.silu(self.batch_norm(self.depthwise_conv(y)))
        return self.pointwise_conv2(y).transpose(1, 2)


def encode_distances(frames: int, dim: int) -> Tensor:
    """Sinusoids of the distances frames - 1, ..., 1 - frames: (2 frames - 1, dim)."""
    angles = torch.arange(frames - 1, -frames, -1.0)[:, None] * PERIODS ** (-torch.arange(0, dim, 2) / dim)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def _shifted(x: Tensor) -> Tensor:
    """Values by distance (..., F, 2 F - 1) -> values by frame (..., F, F): row i begins at its distance i."""
    frames = x.shape[-2]
    rows = nn.functional.pad(x, (1, 0)).flatten(-2)[..., frames:]  # each row starts one place earlier than the last
    return rows.unflatten(-1, (frames, 2 * frames - 1))[..., :frames]
