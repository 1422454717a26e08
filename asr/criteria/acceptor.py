"""Weighted acceptors of token sequences, in the form that `csrc/ctc` sums: see asr.criteria.totals."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from asr import _ctc
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
    _copies: dict[torch.device, Tensor] = field(init=False, default_factory=dict, repr=False, compare=False)

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

    @cached_property
    def packed(self) -> np.ndarray:
        """(words,) int64: the acceptor as GPU kernels read it."""
        return self.core.packed()

    def packed_on(self, device: torch.device) -> Tensor:
        """`packed` in the memory of a device, where it stays as long as the acceptor."""
        if device not in self._copies:
            self._copies[device] = torch.from_numpy(self.packed).to(device)
        return self._copies[device]


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
