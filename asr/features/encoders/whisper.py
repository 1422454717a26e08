"""Whisper's encoder (Radford et al. 2022, arXiv:2212.04356): samples at 16 kHz -> 50 vectors per second.

Unlike in the original, a recording is not padded to 30 s. Shorter ones take a fraction of the time.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.features.cmvn import frame_mask
from asr.features.encoders.encoder import WINDOW_S, Encoder
from asr.features.slaney import slaney_filters

RATE_HZ = 16000
WINDOW = 400  # samples
SHIFT = 160  # samples
STRIDE = 2 * SHIFT  # samples per output frame
QUIETEST = 8.0  # range of the log-mel spectrum, in decades below its maximum


@dataclass(frozen=True)
class Sizes:
    """`bands` of the log-mel spectrum, `dim` values per frame, `hidden` ones within a block, `positions` per window."""

    bands: int
    dim: int
    heads: int
    layers: int
    hidden: int
    positions: int


class Whisper(Encoder):
    """samples (T,) -> (F, D), F = ceil((T // 160) / 2): the output of `layer`, or the normalised last one."""

    filters: Tensor
    window: Tensor

    def __init__(self, sizes: Sizes):
        """Raises ValueError if the heads do not divide a frame, or a window is shorter than `WINDOW_S`."""
        super().__init__()
        if sizes.dim % sizes.heads or sizes.positions * STRIDE < WINDOW_S * RATE_HZ:
            raise ValueError(f"{sizes.dim} values in {sizes.heads} heads, {sizes.positions} positions")
        self.sizes = sizes
        self.rate_hz, self.shift_samples, self.spare_samples = RATE_HZ, STRIDE, 0
        self.dim, self.layers = sizes.dim, sizes.layers
        self.first = nn.Conv1d(sizes.bands, sizes.dim, 3, padding=1)
        self.second = nn.Conv1d(sizes.dim, sizes.dim, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.empty(sizes.positions, sizes.dim))
        self.blocks = nn.ModuleList(Block(sizes.dim, sizes.heads, sizes.hidden) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.dim)
        self.register_buffer("filters", slaney_filters(sizes.bands, WINDOW, RATE_HZ).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def description(self) -> dict[str, Any]:
        return {"family": "whisper", **dataclasses.asdict(self.sizes)}

    def num_frames(self, samples: int) -> int:
        return -(-(samples // SHIFT) // 2)

    def encode_window(self, x: Tensor, *layers: int) -> Tensor:
        x = self.second(nn.functional.gelu(self.first(self.log_mel(x)[None])))
        x = nn.functional.gelu(x)[0].T  # (F, D)
        outputs = [x + self.positions[: len(x)]]
        for block in self.blocks[: max(layers)]:
            outputs.append(block(outputs[-1][None])[0])
        if len(outputs) > self.layers:
            outputs[-1] = self.norm(outputs[-1])
        return torch.cat([outputs[layer] for layer in layers], 1)

    def part(self, layer: int, count: int) -> "Upper":
        norm = self.norm if layer + count == self.layers else nn.Identity()
        return Upper(nn.ModuleList(self.blocks[layer : layer + count]), norm)

    def log_mel(self, x: Tensor) -> Tensor:
        """Samples (T,) -> (bands, T // 160): decades above an energy of 1e-10, limited to `QUIETEST` below the maximum,
        shifted and scaled to about [-1, 1]. What follows the recording counts as silence."""
        frames = len(x) // SHIFT
        x = nn.functional.pad(x, (0, 2 * WINDOW))
        x = torch.cat([x[1 : WINDOW // 2 + 1].flip(0), x])
        spectrum = torch.stft(x, WINDOW, SHIFT, window=self.window, center=False, return_complex=True)[:, :frames]
        energies = self.filters @ spectrum.abs().square()
        log = energies.clamp(min=1e-10).log10()
        return (torch.maximum(log, log.max() - QUIETEST) + 4) / 4


class Upper(nn.Module):
    """The upper layers of an encoder: (N, F, D), lengths (N,) -> (N, F, D); padding is not heard."""

    def __init__(self, blocks: nn.ModuleList, norm: nn.Module):
        super().__init__()
        self.blocks, self.norm = blocks, norm

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = frame_mask(lengths, x.shape[1])  # (N, F)
        for block in self.blocks:
            x = block(x, mask[:, None, None])
        return self.norm(x).masked_fill(~mask[:, :, None], 0.0)


class Block(nn.Module):
    """A transformer layer with normalisation before each part: (N, F, D) -> (N, F, D)."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)  # queries, keys, values; the bias of the keys is zero
        self.join = nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask`: (N, 1, 1, F), True on frames to be heard; None: all."""
        projected = self.project(self.attention_norm(x))  # (N, F, 3 D)
        q, k, v = projected.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (N, H, F, D / H)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (N, H, F, D / H)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(nn.functional.gelu(self.widen(self.norm(x))))


# Parts of other names -> parts of ours, in this order: CTranslate2's, then Hugging Face's
PARTS = {
    "self_attention.layer_norm": "attention_norm",
    "self_attention.linear_0": "project",
    "self_attention.linear_1": "join",
    "ffn.layer_norm": "norm",
    "ffn.linear_0": "widen",
    "ffn.linear_1": "narrow",
    "layer_norm": "norm",
    "position_encodings.encodings": "positions",
    "layer_": "blocks.",
    "gamma": "weight",
    "beta": "bias",
    "self_attn_norm": "attention_norm",
    "self_attn.out_proj": "join",
    "final_norm": "norm",
    "fc1": "widen",
    "fc2": "narrow",
    "embed_positions.weight": "positions",
    "layers.": "blocks.",
    "conv1": "first",
    "conv2": "second",
}
_HUGGING_FACE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def from_tensors(tensors: Mapping[str, Tensor], heads: int, path: object) -> Whisper:
    """The encoder whose tensors have CTranslate2's or Hugging Face's names, as in `conv1.weight`.

    Raises InputError if one is missing or of another shape.
    """
    state = {our_name(name): x for name, x in _join_projections(tensors).items()}
    try:
        dim, bands, _ = state["first.weight"].shape
        layers = 1 + max(int(found[1]) for name in state if (found := re.match(r"blocks\.(\d+)\.", name)))
        hidden, positions = len(state["blocks.0.widen.bias"]), len(state["positions"])
        with torch.device("meta"):
            encoder = Whisper(Sizes(bands, dim, heads, layers, hidden, positions))
    except KeyError as e:
        raise InputError(f"{path} is not a Whisper encoder: {e} is missing; copy or download it again") from e
    except ValueError as e:
        raise InputError(f"{path} is not a Whisper encoder ({e}); copy or download it again") from e
    wanted = encoder.state_dict()
    for name in wanted.keys() | state.keys():
        shapes = [tuple(x[name].shape) if name in x else None for x in (wanted, state)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{path}: tensor '{name}' has the shape {shapes[1]}, expected {shapes[0]}")
    encoder = Whisper(encoder.sizes)
    encoder.load_state_dict(state)
    return encoder


def our_name(name: str, parts: Mapping[str, str] = PARTS) -> str:
    """The name of a tensor here."""
    name = name.replace("/", ".")
    for part, ours in parts.items():
        name = name.replace(part, ours)
    return name


def _join_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's projections of queries, keys and values as one; the keys have no bias."""
    joined = {name: x for name, x in tensors.items() if not any(part in name for part in _HUGGING_FACE)}
    for name in [name for name in tensors if name.endswith(f"{_HUGGING_FACE[0]}.weight")]:
        start = name.removesuffix(f"{_HUGGING_FACE[0]}.weight")
        weights = [tensors[f"{start}{part}.weight"] for part in _HUGGING_FACE]
        biases = [
            tensors.get(f"{start}{part}.bias", torch.zeros(len(w)))
            for part, w in zip(_HUGGING_FACE, weights, strict=True)
        ]
        joined |= {f"{start}project.weight": torch.cat(weights), f"{start}project.bias": torch.cat(biases)}
    return joined
