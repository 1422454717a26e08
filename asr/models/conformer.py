"""Conformer: attention for what is far, convolution for what is near (Gulati et al. 2020, arXiv:2005.08100).

    x = x + FeedForward(x) / 2;  x = x + Attention(x);  x = x + Convolution(x);  x = LayerNorm(x + FeedForward(x) / 2)

LayerNorm replaces the BatchNorm of the convolution: its result does not depend on the batch. With `chunk`, attention is
limited to chunks of frames (Zhang et al. 2020, U2, arXiv:2012.05481), and the convolution is causal or stops at the end
of the chunk (Li et al. 2023, arXiv:2304.09325). With `dynamic_chunk`, each batch of the training draws its chunk as in
U2. The same weights then serve with any chunk and with the whole utterance.

With `layer_drop`, training skips blocks: stochastic depth (Huang et al. 2016, arXiv:1603.09382), more often the later
ones. As in LayerDrop (Fan et al. 2020, arXiv:1909.11556) nothing is rescaled: each block ends in a normalisation.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import ModelConfig, check_group
from asr.errors import InputError
from asr.models.attention import Attention, Context, Past, visible
from asr.models.chunked import DepthwiseConv
from asr.models.intermediate import DeepNet, Intermediate
from asr.models.layers import FrameStack, TokenOutput, frame_mask
from asr.models.streaming import Memory, Remembering, cut

LARGEST_DRAWN = 25  # frames of a chunk drawn in training
WHOLE = 0.5  # share of batches that read whole utterances
WIDENING = 4  # of the feed-forward layers


class FeedForward(nn.Sequential):
    def __init__(self, dim: int, dropout: float):
        wide = WIDENING * dim
        super().__init__(
            nn.LayerNorm(dim), nn.Linear(dim, wide), nn.SiLU(), nn.Dropout(dropout), nn.Linear(wide, dim),
            nn.Dropout(dropout),
        )  # fmt: skip


class Convolution(nn.Module):
    """Pointwise, gate, depthwise over time, pointwise: (N, F, H) -> (N, F, H). No frame reads beyond its chunk."""

    def __init__(self, dim: int, kernel: int, is_causal: bool, dropout: float):
        super().__init__()
        self.gate = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GLU())
        self.depthwise = DepthwiseConv(dim, kernel, is_causal)
        self.output = nn.Sequential(nn.LayerNorm(dim), nn.SiLU(), nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor, valid: Tensor | None, past: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        """x (N, F, H), its valid frames (N, F, 1), None: all, and the frames before -> (N, F, H), past."""
        x, past = self.depthwise.advance(self.gate(x), valid, past, chunk)
        return self.output(x), past


class ConformerBlock(nn.Module):
    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.first = FeedForward(cfg.hidden, cfg.dropout)
        self.norm = nn.LayerNorm(cfg.hidden)
        self.attention = Attention(cfg.hidden, cfg.heads, cfg.positions, cfg.dropout)
        self.dropout = nn.Dropout(cfg.dropout)
        self.convolution = Convolution(cfg.hidden, cfg.kernel, cfg.causal, cfg.dropout)
        self.second = FeedForward(cfg.hidden, cfg.dropout)
        self.last_norm = nn.LayerNorm(cfg.hidden)

    def forward(
        self, x: Tensor, past: tuple[Past, Tensor], chunk: int, mask: Tensor | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, tuple[Past, Tensor]]:
        """x (N, F, H) after `past`; mask: (N, 1, F, P + F), frames that attention reads; valid: (N, F, 1)."""
        x = x + 0.5 * self.first(x)
        heard, keys = self.attention(self.norm(x), mask, past[0])
        x = x + self.dropout(heard)
        change, convolved = self.convolution(x, valid, past[1], chunk)
        x = x + change
        return self.last_norm(x + 0.5 * self.second(x)), (keys, convolved)

    def nothing(self, batch: int) -> tuple[Past, Tensor]:
        """The past of the first frame."""
        return self.attention.nothing(batch), self.convolution.depthwise.nothing(batch)

    def earliest(self, frames: np.ndarray, context: Context) -> np.ndarray:
        """The first frame that each of some frames of the output reads."""
        return (frames - self.convolution.depthwise.before) // context.chunk * context.chunk - context.left


class ConformerBlocks(Remembering):
    """`layers` blocks. In a stream they take one chunk after the other."""

    def __init__(self, cfg: ModelConfig, block: type[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(block(cfg) for _ in range(cfg.layers))
        self.dim, self.is_drawn, self.layer_drop = cfg.hidden, cfg.dynamic_chunk, cfg.layer_drop
        self.set_context(Context(cfg.chunk, cfg.left))

    def set_context(self, context: Context) -> None:
        self.context, self.lookahead = context, max(0, context.chunk - 1)
        self.before = self.furthest() if context.chunk and context.left else math.inf

    def furthest(self) -> int:
        """The most frames of the past that a frame of a chunk depends on."""
        frames = first = np.arange(self.context.chunk)
        for block in self.each():
            first = block.earliest(first, self.context)
        return int((frames - first).max())

    def forward(self, x: Tensor, lengths: Tensor, after: Callable[[Tensor, int], Tensor]) -> Tensor:
        """x (N, F, H); `after` is applied to the output of each block, with its number from 1."""
        context = self.draw_context() if self.training and self.is_drawn else self.context
        valid = frame_mask(lengths, x.shape[1])
        read = valid.transpose(1, 2) | ~valid  # (N, F, F): padding reads padding, too, so that no softmax is empty
        mask = (visible(x.shape[1], context, x.device) & read)[:, None]  # (N, 1, F, F)
        for number, block in enumerate(self.each(), 1):
            if not self.is_dropped(number):
                x, _ = block(x, block.nothing(x.shape[0]), context.chunk, mask, valid)
            x = after(x, number)
        return x

    def is_dropped(self, number: int) -> bool:
        """Whether a training batch skips a block."""
        if not self.training or not self.layer_drop:
            return False
        return bool(torch.rand(()) < self.layer_drop * number / len(self.blocks))

    def each(self) -> list[ConformerBlock]:
        return cast(list[ConformerBlock], list(self.blocks))

    def draw_context(self) -> Context:
        """The context of a batch of the training."""
        if torch.rand(()) < WHOLE:
            return Context(0, 0)
        largest = max(LARGEST_DRAWN, self.context.chunk)
        return Context(int(torch.randint(1, largest + 1, ())), self.context.left)

    def begin(self, batch: int) -> Memory:
        """The frames of a chunk that is not complete, and the past of each block."""
        empty = next(self.parameters()).new_zeros(batch, 0, self.dim)
        return empty, [block.nothing(batch) for block in self.each()]

    def advance(self, x: Tensor, memory: Memory, is_last: bool) -> tuple[Tensor, Memory]:
        waiting, pasts = torch.cat([memory[0], x], 1), memory[1]
        ready = [x[:, :0]]
        while waiting.shape[1] >= self.context.chunk or is_last and waiting.shape[1]:
            x, waiting = cut(waiting, min(self.context.chunk, waiting.shape[1]))
            x, pasts = self.advance_chunk(x, pasts)
            ready.append(x)
        return torch.cat(ready, 1), (waiting, pasts)

    def advance_chunk(self, x: Tensor, pasts: list[tuple[Past, Tensor]]) -> tuple[Tensor, list[tuple[Past, Tensor]]]:
        after, left = [], self.context.left
        for block, past in zip(self.each(), pasts, strict=True):
            x, ((keys, values), convolved) = block(x, past, self.context.chunk)
            after.append(((keys[:, :, -left:], values[:, :, -left:]), convolved))
        return x, after


class ConformerNet(DeepNet):
    """Stacked frames, a linear layer, then `layers` blocks."""

    block: type[nn.Module] = ConformerBlock

    def __init__(self, cfg: ModelConfig, num_features: int, num_tokens: int):
        super().__init__()
        check(cfg)
        self.cfg, self.subsampling = cfg, cfg.subsampling
        self.stack = FrameStack(cfg.subsampling, num_features)
        self.embed = nn.Sequential(nn.Linear(cfg.subsampling * num_features, cfg.hidden), nn.Dropout(cfg.dropout))
        self.blocks = ConformerBlocks(cfg, self.block)
        self.output = TokenOutput(cfg.hidden, num_tokens)
        self.intermediate = Intermediate(cfg, cfg.hidden, num_tokens)

    def run(self, features: Tensor, lengths: Tensor, found: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        x, lengths = self.stack(features, lengths)  # (N, F', s * D)
        after = partial(self.intermediate, output=self.output, found=found)
        return self.output(self.blocks(self.embed(x), lengths, after)), lengths

    def with_chunk(self, chunk: int, left: int) -> "ConformerNet":
        """A net of the same weights, shared, with another context (`model.chunk`, `model.left`).

        Raises InputError for numbers out of bounds.
        """
        cfg = replace(self.cfg, chunk=chunk, left=left)
        check_group("model", cfg)
        check(cfg)
        other = copy.deepcopy(self, {id(parameter): parameter for parameter in self.parameters()})
        other.cfg = cfg
        other.blocks.set_context(Context(chunk, left))
        return other

    def chain(self) -> Sequence[nn.Module]:
        chunk, left = self.blocks.context
        return (self.stack, self.embed, self.blocks, self.output) if chunk and left else ()


def check(cfg: ModelConfig) -> None:
    """Raises InputError for options that do not fit each other."""
    if cfg.hidden % cfg.heads:
        raise InputError(f"model.hidden={cfg.hidden} is no multiple of model.heads={cfg.heads}")
    if cfg.positions == "rotary" and cfg.hidden // cfg.heads % 2:
        raise InputError(f"model.hidden={cfg.hidden} gives each of model.heads={cfg.heads} heads "
                         f"{cfg.hidden // cfg.heads} values; model.positions=rotary needs an even number")  # fmt: skip
    if cfg.left and not cfg.chunk:
        raise InputError(f"model.left={cfg.left} limits what chunks read, but model.chunk=0 reads whole utterances; "
                         "set model.chunk, too")  # fmt: skip
    if cfg.self_conditioned and (cfg.chunk or cfg.dynamic_chunk):
        raise InputError("model.self_conditioned is for conformers that read whole utterances: chunks are passed from "
                         "block to block; leave out model.chunk and model.dynamic_chunk")  # fmt: skip
    if cfg.lookahead is not None:
        raise InputError(f"model.lookahead={cfg.lookahead} is for convolutions and LSTMs; a conformer reads chunks: "
                         "set model.chunk instead")  # fmt: skip
