"""Graphs of HMMs by numpy columns and Python lists: slow, or readable, references for those of csrc/decoder.

All phones of a graph are replaced at once, frontier by frontier; see asr.hmm.graph.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.ranges import expand_ranges
from asr.hmm.model import Hmm, Split
from asr.tokens import EPSILON_LABEL, Tokens


def expand(graph: Automaton, hmm: Hmm, most_arcs: int | None = None) -> Automaton:
    """The graph of net outputs for `graph`, an LG whose input labels are those of `hmm.phones`.

    Costs are negative natural logs; those of the steps between states are multiplied by `hmm.scale`. Raises InputError
    as `HmmExpansion.over`.
    """
    paired = _pair(graph, hmm, most_arcs) if hmm.has_contexts else _alone(graph)
    size = len(hmm.phones)
    codes, which = np.unique(paired.context @ [size**2, size, 1], return_inverse=True)  # faster than unique rows
    contexts = np.stack([codes // size**2, codes // size % size, codes % size], 1)
    outputs = [hmm.outputs(*context) if context[1] else () for context in contexts.tolist()]
    kinds = {pair: n for n, pair in enumerate(dict.fromkeys(zip(contexts[:, 1].tolist(), outputs, strict=True)))}
    kind = np.array([kinds[pair] for pair in zip(contexts[:, 1].tolist(), outputs, strict=True)], np.int64)
    kind = kind[which.ravel()]  # (A,) of each arc: which HMM it passes
    passages = [_passage(hmm.steps[phone - 1].tobytes(), found, hmm.scale) if phone else None for phone, found in kinds]

    passes = paired.context[:, 1] > 0
    rooms, room = np.unique(paired.target[passes] * len(kinds) + kind[passes], return_inverse=True)
    room_kind, room_target = rooms % len(kinds), rooms // len(kinds)
    sizes = np.array([p.size if p else 0 for p in passages])
    room_first = paired.num_states + np.cumsum(sizes[room_kind]) - sizes[room_kind]  # the first HMM state of each

    columns = [[c[~passes] for c in (paired.source, np.zeros_like(paired.olabel), *paired.rest)]]
    enter, inner, leave = (_Rows([getattr(p, name) if p else _NONE for p in passages]) for name in _STEPS)
    row, step = enter.of(room_kind[room])
    source, olabel, cost = (c[passes][row] for c in (paired.source, paired.olabel, paired.cost))
    columns.append([source, step.label, olabel, cost + step.cost, room_first[room[row]] + step.target])
    row, step = inner.of(room_kind)
    columns.append([room_first[row] + step.source, step.label, 0 * row, step.cost, room_first[row] + step.target])
    row, step = leave.of(room_kind)
    columns.append([room_first[row] + step.source, 0 * row, 0 * row, step.cost, room_target[row]])

    final = np.full(paired.num_states + int(sizes[room_kind].sum()), np.inf, np.float32)
    final[: paired.num_states] = paired.final
    return Automaton.from_arcs(paired.start, final, *map(np.concatenate, zip(*columns, strict=True)))


@dataclass(frozen=True)
class _Paired:
    """C o LG. An arc passes the HMM of `context` (left, phone, right), or nothing if the phone is 0."""

    start: int
    final: np.ndarray  # (S,)
    source: np.ndarray  # (A,), as all others
    context: np.ndarray  # (A, 3)
    olabel: np.ndarray
    cost: np.ndarray
    target: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.final)

    @property
    def rest(self) -> tuple[np.ndarray, ...]:
        return self.olabel, self.cost, self.target


def _alone(graph: Automaton) -> _Paired:
    """The arcs of a graph whose phones sound the same everywhere."""
    context = np.zeros((len(graph.ilabel), 3), np.int64)
    context[:, 1] = np.maximum(graph.ilabel.astype(np.int64) - Tokens.label(0), 0)
    final = graph.final.astype(np.float32)
    return _Paired(graph.start, final, graph.source, context, graph.olabel, graph.cost, graph.target)


def _pair(graph: Automaton, hmm: Hmm, most_arcs: int | None) -> _Paired:
    """The pairs of a state of the graph and the last two phones read that are reached from the start, and the arcs
    between them. The last state is the end of all passages."""
    size = len(hmm.phones)
    asks = np.array([False, *(any(isinstance(tree, Split) for tree in of_phone) for of_phone in hmm.trees)])
    first = graph.first
    frontier = np.array([graph.start * size**2], np.int64)
    reached = _Numbers(frontier)
    rows = []
    num_arcs = 0
    while len(frontier):
        state, last = np.divmod(frontier, size**2)
        counts = first[state + 1] - first[state]
        num_arcs += int(counts.sum())
        if most_arcs is not None and num_arcs > most_arcs:
            raise InputError(f"with the phones around each phone, the list or grammar takes more than {most_arcs} arcs "
                             "of a graph; give fewer words in a row, or fewer in all")  # fmt: skip
        which, arc = expand_ranges(first[state], counts)
        read = graph.ilabel[arc].astype(np.int64) - Tokens.label(0)  # phones; -1 for epsilon
        before = np.where(asks[read], last[which] % size, 0)  # of a phone without trees it does not matter
        after = graph.target[arc].astype(np.int64) * size**2 + np.where(read < 0, last[which], before * size + read)
        rows.append((frontier[which], read, graph.olabel[arc], graph.cost[arc], after))
        frontier = reached.add(after)
    known = reached.all
    source, phone, olabel, cost, target = (np.concatenate(column) for column in zip(*rows, strict=True))

    state, last = np.divmod(known, size**2)
    ends, pending = graph.final[state], last % size
    closing = known[np.isfinite(ends) & (pending > 0)]  # the last phone is passed at the end of the utterance
    end = len(known)
    final = np.append(np.where(pending == 0, ends, np.inf), 0.0).astype(np.float32)
    phone = np.append(phone, np.zeros(len(closing), np.int64))
    sources = np.append(source, closing)
    left, centre = np.divmod(sources % size**2, size)
    context = np.stack([left, np.where(phone < 0, 0, centre), phone], 1)
    return _Paired(
        int(np.searchsorted(known, graph.start * size**2)),
        final,
        np.searchsorted(known, sources),
        np.where(context[:, 1:2] > 0, context, 0),
        np.append(olabel, np.zeros(len(closing), olabel.dtype)),
        np.append(cost, graph.final[closing // size**2]),
        np.append(np.searchsorted(known, target), np.full(len(closing), end)),
    )


class _Numbers:
    """A growing set of numbers, as sorted runs, each at least twice as long as the next: few are added to many at a
    small cost, and a chain of N phones takes no N^2 steps."""

    def __init__(self, numbers: np.ndarray):
        self._runs = [np.unique(numbers)]

    def add(self, numbers: np.ndarray) -> np.ndarray:
        """Adds numbers -> those that are new, in ascending order."""
        new = np.unique(numbers)
        for run in self._runs:
            new = new[run[np.minimum(np.searchsorted(run, new), len(run) - 1)] != new]
        if len(new):
            self._runs.append(new)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return new

    @property
    def all(self) -> np.ndarray:
        """In ascending order."""
        return np.sort(np.concatenate(self._runs), kind="stable")


@dataclass(frozen=True)
class _Steps:
    """Steps of HMMs as columns: from a state, with a label, at a cost, to a state."""

    source: np.ndarray
    label: np.ndarray
    cost: np.ndarray
    target: np.ndarray


_NONE = _Steps(*(np.zeros(0, np.int64),) * 2, np.zeros(0), np.zeros(0, np.int64))
_STEPS = ("enter", "inner", "leave")


@dataclass(frozen=True)
class _Passage:
    """The HMM of a phone in context."""

    size: int  # number of states
    enter: _Steps
    inner: _Steps
    leave: _Steps


@lru_cache
def _passage(steps: bytes, outputs: tuple[int, ...], scale: float) -> _Passage:
    """`steps`: the bytes of the topology (S + 1, S + 1) float64."""
    size = len(outputs)
    topology, labels = (
        np.frombuffer(steps).reshape(size + 1, -1),
        np.array([*map(Tokens.label, outputs), EPSILON_LABEL]),
    )
    source, target = np.nonzero(topology)
    costs = -scale * np.log(topology[source, target])
    chosen = (source == 0, (source > 0) & (target < size), target == size)
    return _Passage(size, *(_Steps(source[c] - 1, labels[target[c]], costs[c], target[c]) for c in chosen))


class _Rows:
    """The steps of several HMMs, one after the other."""

    def __init__(self, parts: list[_Steps]):
        self.count = np.array([len(part.source) for part in parts])
        self.first = np.cumsum(self.count) - self.count
        self.all = _Steps(*(np.concatenate([getattr(p, f) for p in parts]) for f in _Steps.__dataclass_fields__))

    def of(self, kind: np.ndarray) -> tuple[np.ndarray, _Steps]:
        """All steps of the HMMs `kind` (R,): the row of `kind` that each belongs to, and the steps."""
        row, at = expand_ranges(self.first[kind], self.count[kind])
        return row, _Steps(*(getattr(self.all, f)[at] for f in _Steps.__dataclass_fields__))


def acceptor_of(words, hmm):
    """The phone sequences of a transcript, as `asr.hmm.alignment.acceptor_of`."""
    arcs: list[tuple[int, int, int, float, int]] = []  # source, input, output, cost, target
    states, numbers = itertools.count(1), itertools.count(1)
    quiet = [Tokens.label(hmm.silence_id)] if hmm.silence else []

    def spell(sources, labels, number, cost, target):
        inner = [*itertools.islice(states, len(labels) - 1), target]
        arcs.extend((source, labels[0], number, cost, inner[0]) for source in sources)
        arcs.extend((*row[:2], 0, 0.0, row[2]) for row in zip(inner, labels[1:], inner[1:], strict=False))

    def pause(source):
        """The states from which the next word may start."""
        if not quiet:
            return [source]
        target = next(states)
        spell([source], quiet, 0, 0.0, target)
        return [source, target]

    starts = pause(0)
    for spelled in words:
        end, is_optional = next(states), False
        for units, cost in spelled:
            number = next(numbers)
            if units:
                spell(starts, [Tokens.label(phone) for phone in hmm.phones.encode(units)], number, cost, end)
            is_optional = is_optional or not units
        starts = pause(end) + (starts if is_optional else [])
    if not arcs:
        raise InputError("nothing is said in the utterance, and the HMMs have no silence to align it with")
    final = np.full(next(states), np.inf)
    final[starts] = 0.0
    return Automaton.from_arcs(0, final, *(np.array(column) for column in zip(*arcs, strict=True)))
