"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): a linear layer W stays, and a pair of small matrices whose
product is added to it is trained. Afterwards the product is part of W, so that serving knows nothing of pairs.
"""

import math

import torch
from torch import Tensor, nn

PAIR = ("down", "up")


class LowRank(nn.Linear):
    """x (..., I) -> W x + up (down x) + b, where only `down` (R, I) and `up` (O, R) are trained.

    `up` begins with zeros. W and b keep the names that they have in the layer that this one replaces.
    """

    def __init__(self, linear: nn.Linear, rank: int):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + nn.functional.linear(nn.functional.linear(x, self.down), self.up)


def add_pairs(module: nn.Module, rank: int) -> None:
    """Give every linear layer within `module` a pair of this rank, and freeze everything else. 0 only freezes."""
    module.requires_grad_(False)
    parents = [parent for parent in module.modules() if not isinstance(parent, LowRank)]
    for parent in parents if rank else ():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, LowRank(child, rank))


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a module without pairs: their products are added to the weights."""
    plain = {name: x for name, x in state.items() if name.rpartition(".")[2] not in PAIR}
    for name, up in state.items():
        start, _, last = name.rpartition(".")
        if last == "up":
            plain[f"{start}.weight"] = plain[f"{start}.weight"] + up @ state[f"{start}.down"]
    return plain


def load_merged(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load such a state into a module that may have pairs, which then add nothing."""
    own = module.state_dict()
    zeros = {name: torch.zeros_like(x) for name, x in own.items() if name.rpartition(".")[2] in PAIR}
    module.load_state_dict(state | zeros)
