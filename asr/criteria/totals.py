"""The total weight of the paths of acceptors over net outputs.

    total[n] = log sum over paths a_1 .. a_F of weight(a) * prod_f exp(x[f, n, label(a_f)])

The weight of a path is the product of its arcs and of its first and last state. This is the forward-backward algorithm
(Rabiner 1989, eq. 18 to 27) over any finite-state model of the labels, and the sum of LF-MMI; see asr.criteria.lfmmi.
`csrc/ctc` computes it without an approximation: no state is pruned, and numbers beyond the range of double are kept.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr import _ctc
from asr.criteria import operators
from asr.criteria.acceptor import Acceptor
from asr.criteria.arguments import Lengths, check_lengths
from asr.errors import InputError, refusals

MOST_WORDS = 1 << 27  # of memory on a GPU: 1 GiB. A larger batch is summed in several parts


def log_totals(x: Tensor, lengths: Lengths, acceptors: Acceptor | Sequence[Acceptor]) -> Tensor:
    """The log of the total weight of all paths: (N,) float64. -inf for an utterance without a path.

    x: (F, N, V) natural log-probs, normalised or not. Values above 1000 count as NaN.
    lengths: (N,) frames of each utterance.
    acceptors: one for all utterances, or one for each.

    The gradient is the posterior of each label in each frame; it is zero where the total is -inf. NaN among the
    log-probs of labels makes total and gradient NaN. There is no second derivative; requesting one raises an error. The
    sums are computed on the device of x if it has kernels, otherwise on the CPU, in float64. Results are bit-identical
    from run to run, on a CPU for any number of threads. Raises InputError for a shape or length that does not fit.
    """
    if x.dim() != 3 or not x.is_floating_point():
        raise InputError(f"x has shape {tuple(x.shape)} and type {x.dtype}; expected floating point (F, N, V)")
    frames, batch, vocabulary = x.shape
    checked = check_lengths("lengths", lengths, batch).to("cpu", torch.int64).contiguous()
    if batch and not 0 <= int(checked.min()) <= int(checked.max()) <= frames:
        raise InputError(f"lengths are {checked.tolist()}; expected 0 to {frames}, the frames of x")
    is_shared = isinstance(acceptors, Acceptor)
    graphs = [acceptors] if isinstance(acceptors, Acceptor) else list(acceptors)
    if not is_shared and len(graphs) != batch:
        raise InputError(f"{len(graphs)} acceptors for {batch} utterances; expected one for all or one for each")
    if (outputs := max((graph.outputs for graph in graphs), default=0)) > vocabulary:
        raise InputError(f"an acceptor has the label {outputs - 1}, but x has {vocabulary} outputs")
    return _Totals.apply(x, checked, graphs, is_shared)


def occupancy(x: Tensor, lengths: Lengths, acceptor: Acceptor) -> Tensor:
    """The posterior of each label in each frame: (F, N, V) float64. The arguments are those of `log_totals`."""
    with torch.inference_mode(False), torch.enable_grad():
        own = x.detach().double().clone().requires_grad_()
        return torch.autograd.grad(log_totals(own, lengths, acceptor).sum(), own)[0]


class _Totals(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, lengths, graphs, is_shared):
        on_gpu = x.device.type != "cpu" and operators.runs_on(x.device)
        sum_paths = _sum_on_gpu if on_gpu else _sum_on_cpu
        totals, ctx.occupancy = sum_paths(x.detach(), lengths, graphs, is_shared, ctx.needs_input_grad[0])
        ctx.dtype = x.dtype
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        weights = upstream.to(ctx.occupancy.dtype)[:, None]
        # An infinite total has no gradient, whatever is upstream.
        grad = torch.where(ctx.occupancy == 0, ctx.occupancy, ctx.occupancy * weights)
        return grad.to(ctx.dtype), None, None, None


def _sum_on_cpu(x: Tensor, lengths: Tensor, graphs: Sequence[Acceptor], is_shared: bool,
                goes_back: bool) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    own = x.to("cpu", torch.float64).contiguous()
    totals = own.new_empty(x.shape[1])
    occupancy = torch.zeros_like(own) if goes_back else None
    memory = 0 if occupancy is None else occupancy.data_ptr()
    frames, batch, vocabulary = own.shape
    _ctc.log_totals([graph.core for graph in graphs], is_shared, own.data_ptr(), frames, batch, vocabulary,
                    lengths.data_ptr(), totals.data_ptr(), memory, torch.get_num_threads())  # fmt: skip
    return totals.to(x.device), None if occupancy is None else occupancy.to(x.device)


def _sum_on_gpu(x: Tensor, lengths: Tensor, graphs: Sequence[Acceptor], is_shared: bool,
                goes_back: bool) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    own = x if x.dtype in (torch.float32, torch.float64) else x.float()
    own = own if own.stride(2) == 1 else own.contiguous()
    totals = torch.empty(x.shape[1], dtype=torch.float64, device=x.device)
    occupancy = own.new_zeros(own.shape) if goes_back else None
    if not x.shape[1]:
        return totals, occupancy
    packed, offsets = _pack(graphs, x.shape[1], is_shared, x.device)
    sizes = np.max([graph.packed[:3] for graph in graphs], axis=0).tolist()  # the numbers of states and chunks
    lengths = lengths.to(x.device)
    extension = operators.gpu_extension()
    kind = extension.FloatTotals if own.dtype == torch.float32 else extension.DoubleTotals

    def batch(first: int, count: int):  # type: ignore[no-untyped-def]
        """The extension's view of utterances first..first + count - 1."""
        shape = (len(own), count, own.shape[2], *own.stride()[:2])
        addresses = (lengths[first:].data_ptr(), packed.data_ptr(), offsets[first:].data_ptr())
        return kind(own[:, first:].data_ptr(), *shape, *addresses, *sizes)

    words = batch(0, 1).state_words(goes_back)
    most = max(1, min(x.shape[1], MOST_WORDS // words))
    memory = torch.empty(most * words, dtype=torch.int64, device=x.device)
    for first in range(0, x.shape[1], most):
        outputs = (0, 0, 0) if occupancy is None else (occupancy[:, first:].data_ptr(), *occupancy.stride()[:2])
        view = batch(first, min(most, x.shape[1] - first))
        with torch.cuda.device(x.device), refusals():
            view.run(memory.data_ptr(), totals[first:].data_ptr(), *outputs, operators.stream())
    return totals, occupancy


def _pack(graphs: Sequence[Acceptor], batch: int, is_shared: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """The packed acceptors, and where that of each utterance begins (N,), in words."""
    if is_shared:
        return graphs[0].packed_on(device), torch.zeros(batch, dtype=torch.int64, device=device)
    ends = np.cumsum([graph.packed.size for graph in graphs])
    offsets = torch.from_numpy(ends - [graph.packed.size for graph in graphs])
    return torch.from_numpy(np.concatenate([graph.packed for graph in graphs])).to(device), offsets.to(device)
