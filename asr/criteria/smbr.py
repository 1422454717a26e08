"""Minimum Bayes risk over the labels of frames (sMBR), with the paths of a lattice: Kingsbury 2009, "Lattice-based
optimization of sequence classification criteria for neural-network acoustic modeling", in the form of Veselý et al.
2013, "Sequence-discriminative training of deep neural networks".

    loss = sum_a p(a) E(a)      p(a) = exp(s(a)) / sum_b exp(s(b))      s(a) = scale * sum_f x[f, a_f] - cost(a)

E(a) is the number of frames in which the path a has another label than the reference, cost(a) that of the search's
graph. The gradient follows from two passes over the arcs:

    dloss / dx[f, v] = scale * sum over the arcs i with the label v in frame f  p(i) (E(i) - loss)

p(i) is the sum of the p(a) of the paths through arc i, E(i) the mean of their E(a).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log1p

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class LabelLattice:
    """A arcs sorted by source, from lower to higher states. A path leads from state 0 to the last state and has one
    label per frame."""

    num_states: int
    source: NDArray[np.int64]  # (A,)
    target: NDArray[np.int64]  # (A,)
    cost: NDArray[np.float64]  # (A,) of the graph, without the net: negative natural logs
    frame: NDArray[np.int64]  # (A,) that of the first label
    ends: NDArray[np.int64]  # (A,) arc i has the labels[ends[i - 1] : ends[i]]
    labels: NDArray[np.int64]  # (K,) net outputs

    @property
    def spread(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The arc and the frame of each label: (K,) each."""
        sizes = np.diff(self.ends, prepend=0)
        arc = np.repeat(np.arange(len(sizes)), sizes)
        return arc, np.arange(len(arc)) - (self.ends - sizes)[arc] + self.frame[arc]


def expected_frame_errors(x: Tensor, lattices: Sequence[LabelLattice | None], references: Sequence[NDArray[np.int64]],
                          scale: float) -> Tensor:  # fmt: skip
    """The expected number of frames with another label than the reference: (N,) float64, differentiable in x.

    x: (F, N, V) log-probs, normalised or not. lattices: of each utterance, over frames that x has; None gives 0 and no
    gradient. references: the label of each frame, (f,). `scale`: the factor on log-probs in the search. There is no
    second derivative. The computation runs on the CPU, in float64.
    """
    return _Risk.apply(x, lattices, references, scale)


class _Risk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, lattices, references, scale):
        values = x.detach().to("cpu", torch.float64).numpy()
        losses, gradient = np.zeros(x.shape[1]), np.zeros(x.shape)
        for n, (lattice, reference) in enumerate(zip(lattices, references, strict=True)):
            if lattice is not None:
                losses[n], gradient[:, n] = _risk(values[:, n], lattice, reference, scale)
        ctx.gradient, ctx.kind = torch.from_numpy(gradient), (x.dtype, x.device)
        return torch.from_numpy(losses).to(x.device)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        dtype, device = ctx.kind
        return (ctx.gradient * upstream.cpu()[:, None]).to(device, dtype), None, None, None


def _risk(
    x: NDArray[np.float64], lattice: LabelLattice, reference: NDArray[np.int64], scale: float
) -> tuple[float, NDArray[np.float64]]:
    """The expected number of frame errors for log-probs (F, V), and its gradient (F, V)."""
    arc, frame = lattice.spread
    size, last = len(lattice.source), lattice.num_states - 1
    weights = scale * np.bincount(arc, x[frame, lattice.labels], size) - lattice.cost  # (A,) natural logs
    errors = np.bincount(arc, lattice.labels != reference[frame], size)
    arcs = list(zip(lattice.source.tolist(), lattice.target.tolist(), weights.tolist(), errors.tolist(), strict=True))
    mass, mean = _sums(arcs, lattice.num_states, 0)  # of the paths from state 0
    rest, ahead = _sums(((t, s, w, e) for s, t, w, e in reversed(arcs)), lattice.num_states, last)  # to the last state
    posterior = np.exp(mass[lattice.source] + weights + rest[lattice.target] - mass[last])
    through = mean[lattice.source] + errors + ahead[lattice.target]
    gradient = np.zeros_like(x)
    np.add.at(gradient, (frame, lattice.labels), (scale * posterior * (through - mean[last]))[arc])
    return float(mean[last]), gradient


def _sums(
    arcs: Iterable[tuple[int, int, float, float]], num_states: int, start: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each state (S,), the log of the summed weight of the paths from `start`, and their mean errors.

    arcs: from, to, log weight, errors; those into a state come before those out of it.
    """
    mass, mean = [-inf] * num_states, [0.0] * num_states
    mass[start] = 0.0
    for before, after, weight, errors in arcs:
        if (new := mass[before] + weight) == -inf:
            continue
        old = mass[after]
        low, high = (old, new) if old < new else (new, old)
        mass[after] = high + log1p(exp(low - high))
        mean[after] += exp(new - mass[after]) * (mean[before] + errors - mean[after])
    return np.array(mass), np.array(mean)
