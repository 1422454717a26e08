"""Weighted acceptors of token sequences, and the total weight of their paths over net outputs.

    total[n] = log sum over paths a_1 .. a_F of weight(a) * prod_f exp(x[f, n, label(a_f)])

The weight of a path is the product of its arcs and of its first and last state. This is the forward-backward algorithm
(Rabiner 1989, eq. 18 to 27) over any finite-state model of the labels, and the sum of LF-MMI; see asr.criteria.lfmmi.
`csrc/ctc` computes it without an approximation: no state is pruned, and numbers beyond the range of double are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr import _ctc
from asr.criteria.arguments import Lengths, check_lengths
from asr.errors import InputError

NO_LABEL = -1  # of an arc that consumes no frame
MOST_LOG = 1000.0  # of a weight, as of a log-prob


@dataclass(frozen=True)
class Acceptor:
    """S states and A arcs in any order. Weights are natural logs, -inf for what is impossible.

    Raises InputError for a state, label or weight out of range, and on first use if arcs without a label form a circle.
    """

    source: np.ndarray  # (A,) integers
    label: np.ndarray  # (A,) integers: a net output, or NO_LABEL
    log_weight: np.ndarray  # (A,) floats
    target: np.ndarray  # (A,) integers
    start: np.ndarray  # (S,) floats
    final: np.ndarray  # (S,) floats
    outputs: int = field(init=False)  # one more than the largest label

    def __post_init__(self) -> None:
        size = len(self.start)
        for name in ("source", "target"):
            if (states := getattr(self, name)).size and not 0 <= states.min() <= states.max() < size:
                raise InputError(f"{name} has the state {states.min()} or {states.max()}; expected 0 to {size - 1}")
        if self.label.size and not NO_LABEL <= self.label.min() <= self.label.max() < 2**31:
            raise InputError(f"the label {self.label.min()} or {self.label.max()} is no net output")
        for name in ("log_weight", "start", "final"):
            if not (getattr(self, name) <= MOST_LOG).all():
                raise InputError(f"a weight in {name} is NaN or above {MOST_LOG}; expected natural logs")
        object.__setattr__(self, "outputs", int(self.label.max(initial=NO_LABEL)) + 1)

    @cached_property
    def core(self) -> _ctc.Acceptor:
        return _ctc.Acceptor(*_with_labelled_states(self))


def log_totals(x: Tensor, lengths: Lengths, acceptors: Acceptor | Sequence[Acceptor]) -> Tensor:
    """The log of the total weight of all paths: (N,) float64. -inf for an utterance without a path.

    x: (F, N, V) natural log-probs, normalised or not. Values above 1000 count as NaN.
    lengths: (N,) frames of each utterance.
    acceptors: one for all utterances, or one for each.

    The gradient is the posterior of each label in each frame; it is zero where the total is -inf. NaN among the
    log-probs of labels makes total and gradient NaN. There is no second derivative; requesting one raises an error. The
    computation runs on the CPU, in float64, and its results are bit-identical for any number of threads. Raises
    InputError for a shape or length that does not fit.
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
        own = x.detach().to("cpu", torch.float64).contiguous()
        totals = own.new_empty(x.shape[1])
        occupancy = torch.zeros_like(own) if ctx.needs_input_grad[0] else None
        memory = 0 if occupancy is None else occupancy.data_ptr()
        cores = [graph.core for graph in graphs]
        _ctc.log_totals(cores, is_shared, own.data_ptr(), *own.shape, lengths.data_ptr(), totals.data_ptr(), memory,
                        torch.get_num_threads())  # fmt: skip
        ctx.occupancy, ctx.kind = occupancy, (x.dtype, x.device)
        return totals.to(x.device)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        dtype, device = ctx.kind
        weights = upstream.to("cpu", torch.float64)[:, None]
        # An infinite total has no gradient, whatever is upstream.
        grad = torch.where(ctx.occupancy == 0, ctx.occupancy, ctx.occupancy * weights)
        return grad.to(device, dtype), None, None, None


def _with_labelled_states(graph: Acceptor) -> tuple:
    """The arguments of `_ctc.Acceptor`, which has labels on states and its silent states in topological order.

    A state that is entered by one label alone gets that label. Otherwise, a state of its own is made for each label
    that enters it, and leads to it without consuming a frame.
    """
    size = len(graph.start)
    source, label, target = (np.asarray(column, np.int64) for column in (graph.source, graph.label, graph.target))
    weight = np.asarray(graph.log_weight, np.float64)
    possible = weight > -np.inf
    source, label, target, weight = source[possible], label[possible], target[possible], weight[possible]

    entered = np.unique(target * (graph.outputs + 1) + label + 1)  # (state, label + 1), as one number
    state, entry = np.divmod(entered, graph.outputs + 1)
    counts = np.bincount(state, minlength=size)
    has_label = np.zeros(size, bool)
    has_label[state[(entry > 0) & (counts[state] == 1)]] = True
    own = np.where((entry > 0) & ~has_label[state])[0]  # pairs that become states
    place = np.where(has_label[state], state, -1)
    place[own] = size + np.arange(len(own))

    arrives = np.searchsorted(entered, target * (graph.outputs + 1) + label + 1)
    to = np.where(label == NO_LABEL, target, place[arrives])
    source = np.concatenate([source, size + np.arange(len(own))])
    to = np.concatenate([to, state[own]])
    weight = np.concatenate([weight, np.zeros(len(own))])
    labels = np.full(size + len(own), NO_LABEL, np.int64)
    labels[place[place >= 0]] = entry[place >= 0] - 1

    order = _order(labels, source, to)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    source, to = number[source], number[to]
    num_emitting = int((labels >= 0).sum())
    start, final = (np.append(x, np.full(len(own), -np.inf))[order] for x in (graph.start, graph.final))
    start, end = _spread(start, final, source, weight, to, num_emitting)
    outputs, codes = np.unique(labels[order[:num_emitting]], return_inverse=True)
    return (outputs.astype(np.int32), codes.ravel().astype(np.int32),
            *_columns(to, source, weight, len(order)), *_columns(source, to, weight, len(order)),
            start, end, float(np.logaddexp.reduce(start + final)) if len(start) else -np.inf)  # fmt: skip


def _order(labels: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The states with a label, then the others, each after those that lead to it."""
    silent = labels == NO_LABEL
    inner = silent[source] & silent[target]
    rank = np.where(silent, 1, 0)
    if inner.any():
        waiting = np.bincount(target[inner], minlength=len(labels))
        followers: dict[int, list[int]] = {}
        for a, b in zip(source[inner].tolist(), target[inner].tolist(), strict=True):
            followers.setdefault(a, []).append(b)
        ready = np.flatnonzero(silent & (waiting == 0)).tolist()
        for state in ready:
            for follower in followers.get(state, ()):
                rank[follower] = max(rank[follower], rank[state] + 1)
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
        if len(ready) < silent.sum():
            raise InputError("the arcs without a label form a circle; expected an acceptor without such circles")
    return np.argsort(rank, kind="stable")


def _spread(start: np.ndarray, final: np.ndarray, source: np.ndarray, weight: np.ndarray, target: np.ndarray,
            num_emitting: int) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`start` and `final` with the weights of arcs into silent states: of being in a state before the first frame, and
    of ending from it after the last."""
    start, end = start.copy(), final.copy()
    silent = np.flatnonzero(target >= num_emitting)
    silent = silent[np.argsort(target[silent], kind="stable")]
    first = np.searchsorted(target[silent], np.arange(num_emitting, len(start) + 1))
    groups = [silent[a:b] for a, b in zip(first[:-1], first[1:], strict=True)]
    for state, arcs in enumerate(groups, num_emitting):
        start[state] = np.logaddexp.reduce(start[source[arcs]] + weight[arcs], initial=start[state])
    for state, arcs in reversed(list(enumerate(groups, num_emitting))):
        np.logaddexp.at(end, source[arcs], weight[arcs] + end[state])
    return start, end


def _columns(key: np.ndarray, other: np.ndarray, weight: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Arcs sorted by `key`: where those of each state begin (S + 1,), their other ends, their weights."""
    order = np.argsort(key, kind="stable")
    first = np.searchsorted(key[order], np.arange(size + 1))
    return first.astype(np.int32), other[order].astype(np.int32), weight[order]
