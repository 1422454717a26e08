"""The net of a training step in CUDA graphs (`optim.cuda_graphs`): one launch for all kernels of the forward pass, and
one for those of the backward pass, instead of one for each.

A graph repeats what was recorded, at the same addresses, for features of one shape (N, F, D). A shape is recorded when
it comes the second time, until there are `MOST` graphs; the others are computed as ever. None gives way to a later one:
an epoch has each shape about once, so that a shape would often be gone when it comes again, and recording one takes as
long as several steps. Shapes that come often come early. F is rounded up to a multiple of `MULTIPLE` frames, so that
more shapes come again; no net hears padding.

torch.cuda.make_graphed_callables would not do: it has a stream of its own for each shape, so that graphs do not share
the memory of their activations (the allocator keeps streams apart), it frees activations in the backward pass, which
float16 may repeat, and before torch 2.14 the thread that pins batches would break its recording.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asr.config import Config
from asr.errors import InputError

MULTIPLE = 8  # frames
MOST = 64  # graphs
WARM_UP = 3  # passes before the recording, in which libraries allocate what they keep; as in make_graphed_callables

Outputs = Callable[[Tensor, Tensor], tuple[list[Tensor], Tensor]]  # as AcousticModel.outputs


def check_cuda_graphs(cfg: Config) -> None:
    """Raises InputError if a training cannot be recorded."""
    if not cfg.optim.cuda_graphs:
        return
    if torch.device(cfg.device).type != "cuda":
        raise InputError(f"optim.cuda_graphs is for NVIDIA GPUs, but device={cfg.device}; set device=cuda, or leave "
                         "optim.cuda_graphs out")  # fmt: skip
    if cfg.model.kind == "lstm":
        raise InputError("optim.cuda_graphs has not been tried with the LSTMs of cuDNN; choose another net than "
                         "model=lstm, or leave optim.cuda_graphs out")  # fmt: skip
    refused = {"optim.sharded": cfg.optim.sharded, "model.layer_drop": cfg.model.layer_drop,
               "model.dynamic_chunk": cfg.model.dynamic_chunk}  # fmt: skip
    for name, value in refused.items():
        if value:
            raise InputError(f"optim.cuda_graphs repeats the same operations in each step, but {name} changes them; "
                             "leave out one of them")  # fmt: skip


class CudaGraphs:
    """Computes the outputs of a net as `outputs` does, with graphs where there are any.

    Log-probs and gradients are in memory that later calls use again: take what is needed of them before.
    """

    def __init__(self, outputs: Outputs, parameters: list[nn.Parameter]):
        """`parameters`: those that are trained; their values may change, their addresses may not."""
        self.outputs, self.parameters = outputs, parameters
        self.gradient = torch.cat([p.detach().flatten() for p in parameters])  # (P,), of the last backward pass
        parts = self.gradient.split([p.numel() for p in parameters])
        self.gradients = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
        self.recording: dict[str, Any] = {
            "pool": torch.cuda.graph_pool_handle(), "stream": torch.cuda.Stream(),
            "capture_error_mode": "thread_local",  # others may pin memory meanwhile
        }  # fmt: skip
        self.seen: set[torch.Size] = set()
        self.recorded: dict[torch.Size, Recorded] = {}

    def __call__(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features (N, F, D), lengths (N,) -> log-probs (N, F', V) of the trained layers, lengths' (N,)."""
        features = nn.functional.pad(features, (0, 0, 0, -features.shape[1] % MULTIPLE))
        shape = features.shape
        if shape in self.seen and shape not in self.recorded and len(self.recorded) < MOST:
            with torch.random.fork_rng([features.device]):  # the draws of this step are those of the replay
                self.recorded[shape] = Recorded(self, features, lengths)
        self.seen.add(shape)
        if shape not in self.recorded:
            return self.outputs(features, lengths)
        return self.recorded[shape].replay(features, lengths)


class Recorded:
    """The forward and the backward pass for features of one shape."""

    def __init__(self, graphs: CudaGraphs, features: Tensor, lengths: Tensor):
        self.graphs = graphs
        self.features, self.lengths = features.clone(), lengths.clone()
        parameters = graphs.parameters
        torch.cuda.synchronize()
        with torch.cuda.stream(graphs.recording["stream"]):
            for _ in range(WARM_UP):
                outputs, _ = graphs.outputs(self.features, self.lengths)
                torch.autograd.grad(outputs, parameters, [*map(torch.zeros_like, outputs)], materialize_grads=True)
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.forward, **graphs.recording):
            outputs, self.frames = graphs.outputs(self.features, self.lengths)
        self.incoming = [*map(torch.zeros_like, outputs)]  # gradients of the outputs
        with torch.cuda.graph(self.backward, **graphs.recording):
            parts = torch.autograd.grad(
                outputs, parameters, self.incoming, retain_graph=True, materialize_grads=True
            )  # retained, so that the backward pass leaves the activations in place and can be repeated
            torch.cat([part.flatten() for part in parts], out=graphs.gradient)
        self.outputs = [output.detach() for output in outputs]

    def replay(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        self.features.copy_(features)
        self.lengths.copy_(lengths)
        return list(Replay.apply(self, *self.graphs.parameters)), self.frames


class Replay(torch.autograd.Function):
    """Makes the two graphs one operation of autograd, from the parameters to the outputs."""

    @staticmethod
    def forward(ctx: Any, recorded: Recorded, *parameters: nn.Parameter) -> tuple[Tensor, ...]:
        ctx.recorded = recorded
        recorded.forward.replay()
        return tuple(output.detach() for output in recorded.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        recorded: Recorded = ctx.recorded
        for gradient, given in zip(recorded.incoming, incoming, strict=True):
            gradient.copy_(given)
        recorded.backward.replay()
        return None, *recorded.graphs.gradients
