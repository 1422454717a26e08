"""Whisper's decoder (Radford et al. 2022, arXiv:2212.04356): tokens and encoded sound -> the next token.

Its layers are those of the encoder (`asr.features.encoders.whisper.Block`) with attention to the sound in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.features.encoders.whisper import PARTS, our_name

Offered = Sequence[Tensor]  # of each layer: keys and values of the sound (2, N, H, F, D / H)


@dataclass(frozen=True)
class Sizes:
    """`dim` values per token, `hidden` ones within a block, at most `positions` tokens in a text and its beginning."""

    tokens: int
    dim: int
    heads: int
    layers: int
    hidden: int
    positions: int


class Decoder(nn.Module):
    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        self.embeddings = nn.Parameter(torch.empty(sizes.tokens, sizes.dim))
        self.positions = nn.Parameter(torch.empty(sizes.positions, sizes.dim))
        self.blocks = nn.ModuleList(Block(sizes.dim, sizes.heads, sizes.hidden) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.dim)

    def offered(self, sound: Tensor) -> Offered:
        """What the layers attend to in the encoded sound (N, F, D)."""
        return [cast(Block, block).offered(sound) for block in self.blocks]

    def forward(self, ids: Tensor, places: Tensor, offered: Offered, mask: Tensor) -> Tensor:
        """Tokens (N, T) at the places (T,) -> logits of what follows them: (N, T, V); see `states`."""
        return self.states(ids, places, offered, mask) @ self.embeddings.T

    def states(self, ids: Tensor, places: Tensor, offered: Offered, mask: Tensor) -> Tensor:
        """Tokens (N, T) at the places (T,) -> (N, T, D), whose products with the embeddings are the logits.

        `mask` (T, T): True where a token, a row, attends to another.
        """
        x = self.embeddings[ids] + self.positions[places]
        for block, sound in zip(self.blocks, offered, strict=True):
            x = block(x, sound, mask)
        return cast(Tensor, self.norm(x))


class Block(nn.Module):
    """A transformer layer with normalisation before each part: (N, T, D) -> (N, T, D)."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.sound_norm, self.norm = (nn.LayerNorm(dim) for _ in range(3))
        self.project, self.join = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.ask, self.offer, self.take = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def offered(self, sound: Tensor) -> Tensor:
        return self.offer(sound).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, sound: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.project(self.attention_norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (N, H, T, D / H)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        q = self.ask(self.sound_norm(x)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(q, sound[0], sound[1])
        x = x + self.take(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(nn.functional.gelu(self.widen(self.norm(x))))


# Parts of CTranslate2's names -> parts of ours, in this order
_PARTS = {
    ".attention.layer_norm": ".sound_norm",
    ".attention.linear_0": ".ask",
    ".attention.linear_1": ".offer",
    ".attention.linear_2": ".take",
    "embeddings.weight": "embeddings",
    **PARTS,  # of the encoder, whose layers have the rest of the names
}


def from_tensors(tensors: Mapping[str, Tensor], path: object) -> Decoder:
    """The decoder whose tensors have CTranslate2's names. Raises InputError if one is missing or of another shape."""
    state = {our_name(name, _PARTS): x for name, x in tensors.items() if x.ndim}
    try:
        layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
        (count, dim), positions = state["embeddings"].shape, len(state["positions"])
        sizes = Sizes(count, dim, int(tensors["num_heads"]), layers, len(state["blocks.0.widen.bias"]), positions)
        decoder = Decoder(sizes)
        decoder.load_state_dict({name: state[name] for name in decoder.state_dict()})
    except (KeyError, ValueError, RuntimeError) as e:
        raise InputError(f"{path} holds no decoder of Whisper ({e!s:.200}); copy or download it again") from e
    return decoder.eval()
