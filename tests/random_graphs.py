"""Random decoding graphs, and two slow searches that share only the definition of a path with the decoder."""

from dataclasses import dataclass
from math import inf

import numpy as np

from asr.graph.arrays import ARC, Arrays
from asr.graph.opened import Graph
from asr.graph.pack import to_bytes

EXACT = {"beam": inf, "max_active": 2**30}  # options of a decoder without pruning


@dataclass(frozen=True)
class Best:
    cost: float
    labels: list[int]
    label_frames: list[int]
    alignment: list[int]  # token of each frame that the path covers
    complete: bool
    margin: float  # cost of the second best end minus this one's; paths with the same arcs in another order tie


@dataclass(frozen=True)
class Scoring:
    """The costs of a path in addition to its graph costs."""

    log_probs: np.ndarray  # (F, V)
    acoustic_scale: float = 1.0
    word_penalty: float = 0.0
    blank_penalty: float = 0.0

    def arc(self, arc: np.void, frame: int) -> float:
        """Cost of taking `arc`, at `frame` if it is emitting."""
        cost = float(arc["cost"]) + (self.word_penalty if arc["olabel"] else 0.0)
        if arc["ilabel"] == 0:
            return cost
        cost -= self.acoustic_scale * float(self.log_probs[frame, arc["ilabel"] - 1])
        return cost + (self.blank_penalty if arc["ilabel"] == 1 else 0.0)


def to_graph(arrays: Arrays, implicit: bool = False) -> Graph:
    return Graph.from_bytes(to_bytes(arrays, implicit))


def make_arrays(start: int, final_costs: dict[int, float], num_states: int, arcs: list[tuple]) -> Arrays:
    """`arcs`: (source, ilabel, olabel, cost, next)."""
    arcs = sorted(arcs, key=lambda arc: arc[0])
    finals = np.full(num_states, inf, np.float32)
    for state, cost in final_costs.items():
        finals[state] = cost
    sources = np.array([arc[0] for arc in arcs], np.int32)
    return Arrays(start, finals, sources, np.array([tuple(arc[1:]) for arc in arcs], ARC))


def random_arrays(rng, num_states=4, num_arcs=10, num_tokens=3, epsilons=0.3, finals=0.4, pushed=False) -> Arrays:
    """Random arcs between random states: epsilon cycles, self-loops, dead ends, several arcs with one label.

    Costs are >= 0. With `pushed` they are shifted along paths by a random potential, which makes some costs negative
    but no cycle.
    """
    final_costs = np.where(rng.random(num_states) < finals, rng.random(num_states) * 3, inf).astype(np.float32)
    arcs = np.zeros(num_arcs, ARC)
    arcs["ilabel"] = np.where(rng.random(num_arcs) < epsilons, 0, rng.integers(1, num_tokens + 1, num_arcs))
    arcs["olabel"] = np.where(rng.random(num_arcs) < 0.5, 0, rng.integers(1, 100, num_arcs))
    arcs["cost"] = rng.random(num_arcs) * 4
    arcs["next"] = rng.integers(0, num_states, num_arcs)
    sources = np.sort(rng.integers(0, num_states, num_arcs))
    if pushed:
        potential = rng.normal(0, 2, num_states).astype(np.float32)
        arcs["cost"] += potential[arcs["next"]] - potential[sources] + np.float32(1e-3)
        final_costs -= potential
    return Arrays(int(rng.integers(num_states)), final_costs, sources, arcs)


def random_log_probs(rng, num_frames, num_tokens, impossible=0.1) -> np.ndarray:
    log_probs = rng.normal(0, 2, (num_frames, num_tokens)).astype(np.float32)
    log_probs -= np.log(np.exp(log_probs).sum(1, keepdims=True))
    log_probs[rng.random(log_probs.shape) < impossible] = -inf
    return log_probs


def search_by_enumeration(arrays: Arrays, scoring: Scoring) -> Best:
    return _best_end(enumerate_paths(arrays, scoring))


def enumerate_paths(arrays: Arrays, scoring: Scoring) -> list[list[tuple]]:
    """All paths, by the number of frames they cover: (cost, final cost, arcs). Consecutive epsilon arcs visit no state
    twice, as cycles cost at least 0."""
    num_frames = len(scoring.log_probs)
    ends: list[list[tuple]] = [[] for _ in range(num_frames + 1)]

    def follow(state: int, frame: int, cost: float, path: tuple, run: frozenset) -> None:
        ends[frame].append((cost, float(arrays.final_costs[state]), path))
        for arc in arrays.arcs[arrays.sources == state]:
            if arc["ilabel"] == 0 and arc["next"] not in run:
                follow(arc["next"], frame, cost + scoring.arc(arc, frame), (*path, arc), run | {arc["next"]})
            elif arc["ilabel"] and frame < num_frames and scoring.arc(arc, frame) < inf:
                follow(arc["next"], frame + 1, cost + scoring.arc(arc, frame), (*path, arc), frozenset([arc["next"]]))

    follow(arrays.start, 0, 0.0, (), frozenset([arrays.start]))
    return ends


def readings_by_enumeration(arrays: Arrays, scoring: Scoring, cost_of_words=lambda words: 0.0) -> dict[tuple, float]:
    """Word sequence -> cost of its cheapest path to a final state. If no path reaches one, the word sequences of the
    paths that cover the most frames. `cost_of_words` is added, as boosts are."""
    ends = enumerate_paths(arrays, scoring)
    finals = [(cost + final, path) for cost, final, path in ends[-1] if final < inf]
    covered = max(frame for frame, paths in enumerate(ends) if paths)
    best: dict[tuple, float] = {}
    for cost, path in finals or [(cost, path) for cost, _, path in ends[covered]]:
        words = tuple(int(arc["olabel"]) for arc in path if arc["olabel"])
        best[words] = min(best.get(words, inf), cost + cost_of_words(words))
    return best


def without_epsilon_cycles(arrays: Arrays) -> Arrays:
    """Turn epsilon arcs that do not lead to a higher state into arcs of token 0."""
    arcs = arrays.arcs.copy()
    arcs["ilabel"][(arcs["ilabel"] == 0) & (arcs["next"] <= arrays.sources)] = 1
    return arrays._replace(arcs=arcs)


def search_by_frames(arrays: Arrays, scoring: Scoring) -> Best:
    """Dynamic programming over (frame, state) in double precision, without pruning."""
    num_states = len(arrays.final_costs)
    best: dict[int, tuple[float, tuple | None]] = {arrays.start: (0.0, None)}  # state -> (cost, path as a linked list)
    ends = []
    for frame in range(len(scoring.log_probs) + 1):
        for _ in range(num_states):  # enough rounds for every epsilon path
            for source, arc in zip(arrays.sources, arrays.arcs, strict=True):
                if arc["ilabel"] == 0 and source in best:
                    _improve(best, arc, best[source], scoring.arc(arc, frame))
        ends.append([(cost, float(arrays.final_costs[s]), _unlink(path)) for s, (cost, path) in best.items()])
        if frame == len(scoring.log_probs):
            break
        before, best = best, {}
        for source, arc in zip(arrays.sources, arrays.arcs, strict=True):
            if arc["ilabel"] and source in before:
                _improve(best, arc, before[source], scoring.arc(arc, frame))
        if not best:
            break
    return _best_end(ends + [[]] * (len(scoring.log_probs) + 1 - len(ends)))


def _improve(best: dict, arc: np.void, source: tuple, arc_cost: float) -> None:
    cost = source[0] + arc_cost
    if cost < best.get(arc["next"], (inf,))[0] - 1e-9:
        best[arc["next"]] = (cost, (source[1], arc))


def _unlink(path: tuple | None) -> tuple:
    arcs = []
    while path is not None:
        path, arc = path
        arcs.append(arc)
    return tuple(reversed(arcs))


def _best_end(ends: list[list[tuple]]) -> Best:
    """The best complete path to a final state, else the best complete path, else the best over the most frames."""
    finals = [(cost + final, path) for cost, final, path in ends[-1] if final < inf]
    covered = max(frame for frame, paths in enumerate(ends) if paths)
    ranked = sorted(finals or [(cost, path) for cost, _, path in ends[covered]], key=lambda end: end[0])
    cost, path = ranked[0]
    margin = ranked[1][0] - cost if len(ranked) > 1 else inf
    labels, frames, alignment = [], [], []
    for arc in path:
        if arc["ilabel"]:
            alignment.append(int(arc["ilabel"]) - 1)
        if arc["olabel"]:
            labels.append(int(arc["olabel"]))
            frames.append(max(0, len(alignment) - 1))
    return Best(cost, labels, frames, alignment, bool(finals), margin)
