"""The net of a training step in CUDA graphs (`optim.cuda_graphs`): one launch for all kernels of the forward pass, and
one for those of the backward pass, instead of one for each.

A graph repeats what was recorded, at the same addresses, for features of one shape (N, F, D). N and F are rounded up,
by less than an eighth or to 8 frames, so that shapes come again; no net hears padding. A shape is recorded when it
comes the second time, until there are `MOST` graphs; the others are computed as ever. No graph gives way to another:
an epoch has most shapes once or twice, so that a shape would often be gone when it comes again, and recording takes
as long as some steps. Shapes that are frequent come early.

torch.cuda.make_graphed_callables would not do: it records each shape on a stream of its own, so that graphs do not
share the memory of activations (the allocator keeps streams apart), it frees activations in the backward pass, which
float16 may repeat, and before torch 2.14 the thread that pins batches would break its recording.
"""

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asr.config import Config
from asr.errors import InputError

MULTIPLE = 8  # frames
MOST = 128  # graphs

Outputs = Callable[[Tensor, Tensor], tuple[list[Tensor], Tensor]]  # as AcousticModel.outputs


def check_cuda_graphs(cfg: Config) -> None:
    """Raises InputError if the steps of a training cannot be recorded."""
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

    Inputs, outputs and gradients of all graphs are in the same memory: outputs are valid until the next call.
    """

    def __init__(self, outputs: Outputs, parameters: list[nn.Parameter]):
        """`parameters`: those that are trained; their values may change, their addresses may not."""
        self.outputs, self.parameters = outputs, parameters
        self.gradient = parameters[0].new_empty(sum(p.numel() for p in parameters))  # (P,), of the last backward pass
        parts = self.gradient.split([p.numel() for p in parameters])
        self.gradients = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
        self.recording: dict[str, Any] = {
            "pool": torch.cuda.graph_pool_handle(), "stream": torch.cuda.Stream(),
            "capture_error_mode": "thread_local",  # another thread may pin batches meanwhile
        }  # fmt: skip
        self.blocks: dict[str, Tensor] = {}
        self.seen: set[torch.Size] = set()
        self.recorded: dict[torch.Size, Recorded] = {}

    def __call__(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features (N, F, D), lengths (N,) -> log-probs (N, F', V) of the trained layers, lengths' (N,)."""
        count = len(lengths)
        features, lengths = padded(features, lengths)
        shape = features.shape
        if shape in self.seen and shape not in self.recorded and len(self.recorded) < MOST:
            with torch.random.fork_rng([features.device]):  # the draws of this step are those of the replay
                self.recorded[shape] = Recorded(self, features, lengths)
        self.seen.add(shape)
        outputs = self.recorded[shape].replay if shape in self.recorded else self.outputs
        found, frames = outputs(features, lengths)
        return [output[:count] for output in found], frames[:count]

    def shared(self, name: str, like: Tensor) -> Tensor:
        """Memory for a tensor like this one, the same in all graphs up to the next power of two of its values."""
        block = self.blocks.get(name)
        if block is None or block.numel() < like.numel():
            block = self.blocks[name] = like.new_empty(1 << (like.numel() - 1).bit_length())
        return block[: like.numel()].view_as(like)


class Recorded:
    """The forward and the backward pass for features of one shape."""

    def __init__(self, graphs: CudaGraphs, features: Tensor, lengths: Tensor):
        self.graphs, parameters = graphs, graphs.parameters
        self.features, self.lengths = graphs.shared("features", features), graphs.shared("lengths", lengths)
        self.put(features, lengths)
        gc.collect()  # autograd graphs of earlier steps, if a cycle keeps one: its nodes belong to another stream
        torch.cuda.synchronize()
        with torch.cuda.stream(graphs.recording["stream"]):  # first, libraries allocate what they keep
            found, frames = graphs.outputs(self.features, self.lengths)
            torch.autograd.grad(found, parameters, [*map(torch.zeros_like, found)], materialize_grads=True)
        self.outputs = [graphs.shared(f"outputs {k}", output.detach()) for k, output in enumerate(found)]
        self.incoming = [graphs.shared(f"incoming {k}", output) for k, output in enumerate(self.outputs)]  # gradients
        self.frames = graphs.shared("frames", frames)
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.forward, **graphs.recording):
            found, frames = graphs.outputs(self.features, self.lengths)
            for output, computed in zip((*self.outputs, self.frames), (*found, frames), strict=True):
                output.copy_(computed.detach())
        with torch.cuda.graph(self.backward, **graphs.recording):
            parts = torch.autograd.grad(found, parameters, self.incoming, retain_graph=True, materialize_grads=True)
            torch.cat([part.flatten() for part in parts], out=graphs.gradient)
        # retain_graph: no activation is lost in the backward pass, so that it can be repeated

    def put(self, features: Tensor, lengths: Tensor) -> None:
        self.features.copy_(features)
        self.lengths.copy_(lengths)

    def replay(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        self.put(features, lengths)
        return list(Replay.apply(self, *self.graphs.parameters)), self.frames


class Replay(torch.autograd.Function):
    """Makes one operation of the two graphs: from the parameters to the outputs."""

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


def padded(features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Features and lengths with more frames, and with more utterances of one frame, of zeros."""
    count, length, _ = features.shape
    utterances, frames = rounded(count, 1) - count, rounded(length, MULTIPLE) - length
    features = nn.functional.pad(features, (0, 0, 0, frames, 0, utterances))
    return features, nn.functional.pad(lengths, (0, utterances), value=1)


def rounded(size: int, least: int) -> int:
    """Up to a multiple of `least`, or of the largest power of two that is not more than an eighth of `size`."""
    step = max(least, 1 << size.bit_length() >> 4)
    return -(-size // step) * step
