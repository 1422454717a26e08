"""CUDA graphs on the CPU: `torch.cuda.graph` records the operations below autograd, and a replay repeats them at the
same addresses.

What a GPU would punish fails here:
- an operation that the host has to wait for, or that copies from it, raises while it is recorded,
- what is decided in Python is decided once,
- a replay reads the tensors that were there, even if their owner has others now,
- graphs share their memory: a replay fills with NaN what another graph has made and may have lost to this one.
"""

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "equal",
           "is_nonzero", "repeat_interleave", "lift_fresh"}  # fmt: skip


class HostReads(TorchDispatchMode):
    """Raises for operations whose result the host needs, or whose input it has (`torch.tensor`)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        has_mask = name.startswith("index") and any(x.dtype is torch.bool for x in tensors(args[1]))
        if name in WAITING or has_mask:  # how many values a mask takes, only the device knows
            raise RuntimeError(f"the host waits for the device: {name}")
        return self.called(func, args, kwargs or {})

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)


def tensors(found: Any) -> list[Tensor]:
    return [x for x in tree_leaves(found) if isinstance(x, Tensor)]


def address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def overwrite(found: list[Tensor]) -> None:
    for x in found:
        if x.is_floating_point():
            x.fill_(torch.nan)


class Graph:
    """In the place of torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []  # function, arguments, result: aliases of the same memory
        self.fresh: list[Tensor] = []  # memory that its operations have taken
        self.lost: list[Tensor] = []  # memory of earlier graphs that was free before it was complete
        self.replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for graph in self.pool[self.pool.index(self) :]:
            overwrite(graph.fresh)
        for func, args, kwargs, found in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tensors(found), tensors(again), strict=True):
                if address(old) != address(new):
                    old.copy_(new)
        overwrite(self.lost)

    pool: list["Graph"]  # those with the same memory, in the order of their recording


class Recording(HostReads):
    """In the place of torch.cuda.graph."""

    def __init__(self, graph: Graph, pool: list[Graph], stream: object, capture_error_mode: str):
        super().__init__()
        assert capture_error_mode == "thread_local"  # else a thread that pins batches breaks the recording
        self.graph, graph.pool = graph, pool
        pool.append(graph)

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        found = func(*args, **kwargs)
        given = {address(x) for x in tensors((args, kwargs))}
        self.graph.calls.append(tree_map_only(Tensor, Tensor.detach, (func, args, kwargs, found)))
        self.graph.fresh += [x.detach() for x in tensors(found) if address(x) not in given]
        return found

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        graphs = self.graph.pool
        held = Counter(map(address, tensors([(graph.calls, graph.fresh) for graph in graphs])))
        earlier = [x for graph in graphs[:-1] for x in graph.fresh]
        self.graph.lost = [x for x in earlier if owners(x) == held[address(x)]]


def owners(x: Tensor) -> int:
    """How many tensors have the memory of `x`."""
    storage = x.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata) - 1  # type: ignore[attr-defined]


def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts these in the place of torch.cuda's."""
    replaced = {"CUDAGraph": Graph, "graph": Recording, "graph_pool_handle": list, "Stream": object,
                "stream": lambda stream: nullcontext(), "synchronize": lambda: None,
                "get_rng_state": lambda device: torch.get_rng_state(),
                "set_rng_state": lambda state, device: torch.set_rng_state(state)}  # fmt: skip
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
