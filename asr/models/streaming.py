"""Nets in streams: features arrive in chunks, and log-probs leave as soon as the frames that they depend on are there.

A net is a chain of layers. A layer that reads other frames than the current one remembers what it still needs; all
others treat each frame alone. The log-probs of a stream equal those of `forward`, however it is cut, and its state does
not grow.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from asr.errors import InputError

FEW = 16  # frames; with fewer, products of matrices are several times as fast as PyTorch's routines for sequences
Memory = Any  # of one layer: tensors
State = list[Memory]  # of a batch of streams, one per layer


class Remembering(nn.Module, ABC):
    """A layer that reads frames other than the current one."""

    lookahead = 0  # frames to come that a frame depends on
    before: float = 0  # frames of the past that it depends on

    @abstractmethod
    def begin(self, batch: int) -> Memory:
        """The memory before the first frame of `batch` streams."""

    @abstractmethod
    def advance(self, x: Tensor, memory: Memory, is_last: bool) -> tuple[Tensor, Memory]:
        """The next frames (N, F, D), F >= 0 -> those that are ready (N, F', D'), and the new memory."""


class Net(nn.Module):
    """A net from features (N, F, D) to log-probs (N, F', V)."""

    def outputs(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features (N, F, D) -> log-probs (N, F', V) of the layers that are trained by the criterion, those of the net
        last, and lengths'."""
        log_probs, lengths = self(features, lengths)
        return [log_probs], lengths

    def chain(self) -> Sequence[Callable[[Tensor], Tensor] | nn.Module]:
        """The layers in their order; empty if the net needs the whole utterance."""
        return ()

    def constrain(self) -> None:
        """Moves the parameters towards the constraints of the net, if it has any, after each step of the optimiser."""

    @property
    def can_stream(self) -> bool:
        return len(self.chain()) > 0

    @property
    def lookahead(self) -> int:
        """Output frames to come that a frame depends on, in a net that streams."""
        return sum(layer.lookahead for layer in self.chain() if isinstance(layer, Remembering))

    @property
    def before(self) -> float:
        """Output frames of the past that a frame depends on; infinite where that is all."""
        return sum(layer.before for layer in self.chain() if isinstance(layer, Remembering)) if self.chain() else inf

    def begin(self, batch: int) -> State:
        """The state before the first frame of `batch` streams. Raises InputError if the net cannot stream."""
        if not self.can_stream:
            raise InputError("this net needs the whole utterance and cannot run in a stream; "
                             "train one that can: see docs/concepts/models.md")  # fmt: skip
        return [layer.begin(batch) if isinstance(layer, Remembering) else None for layer in self.chain()]

    @torch.no_grad()
    def advance(self, features: Tensor, state: State, is_last: bool) -> tuple[Tensor, State]:
        """The next features (N, F, D), F >= 0 -> log-probs (N, F', V) of the frames that are ready, and the new state.

        `state` itself does not change. With `is_last` the remaining frames follow, and the streams end.
        """
        x, after = features, []
        for layer, memory in zip(self.chain(), state, strict=True):
            if isinstance(layer, Remembering):
                x, memory = layer.advance(x, memory, is_last)
            else:
                x = layer(x)
            after.append(memory)
        return x, after


def cut(x: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """x (N, F, D) -> its first `frames` frames and the rest; the rest keeps no memory of the others."""
    return x[:, :frames], x[:, frames:].clone()
