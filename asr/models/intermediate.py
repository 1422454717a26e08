"""Hidden layers that give log-probs, too, by the output layer of their net.

Intermediate CTC (Lee & Watanabe 2021, arXiv:2102.03216) trains them with the criterion, as a regularisation. In
self-conditioned CTC (Nozaki & Komatsu 2021, arXiv:2104.02724) the next layer also reads the posteriors: with the output
x of a hidden layer and the log-probs y that the output layer makes of it,

    x' = x + W exp(y) + b
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from asr.config import ModelConfig
from asr.errors import InputError
from asr.models.streaming import Net


class DeepNet(Net, ABC):
    """A net whose hidden layers may be trained by the criterion, too."""

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(features, lengths)

    def outputs(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        found: list[Tensor] = []
        log_probs, lengths = self.run(features, lengths, found)
        return [*found, log_probs], lengths

    @abstractmethod
    def run(self, features: Tensor, lengths: Tensor, found: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The log-probs, and lengths'. `found` gets the log-probs of the layers of `model.intermediate`."""


class Intermediate(nn.Module):
    """What follows each hidden layer: (N, F, H) -> (N, F, H), and the log-probs (N, F, V) of the layers that give them.

    Raises InputError for layers that the net does not have.
    """

    def __init__(self, cfg: ModelConfig, dim: int, num_tokens: int):
        super().__init__()
        check(cfg)
        self.layers = tuple(cfg.intermediate)
        self.conditioning = nn.Linear(num_tokens, dim) if cfg.self_conditioned else None

    def forward(
        self, x: Tensor, layer: int, output: Callable[[Tensor], Tensor], found: list[Tensor] | None = None
    ) -> Tensor:
        """x: that of the hidden layer, counted from 1. `output` makes log-probs of it, which are added to `found`; None
        leaves out what only a training needs."""
        if layer not in self.layers or found is None and self.conditioning is None:
            return x
        log_probs = output(x)
        if found is not None:
            found.append(log_probs)
        return x if self.conditioning is None else x + self.conditioning(log_probs.exp())


def check(cfg: ModelConfig) -> None:
    """Raises InputError for layers that the net does not have."""
    layers = cfg.intermediate
    if any(a >= b for a, b in pairwise([0, *layers, cfg.layers])):
        raise InputError(f"model.intermediate={','.join(map(str, layers))}: expected hidden layers from 1, in their "
                         f"order, below the last one (model.layers={cfg.layers})")  # fmt: skip
    if cfg.self_conditioned and not layers:
        raise InputError("model.self_conditioned needs model.intermediate=LAYERS, whose outputs the next layers read")
