"""The best path of an utterance's network (Viterbi), exact: no beam."""

import numpy as np

from asr.align.network import Network
from asr.errors import InputError

MOST_CELLS = 1 << 26  # frames times states: 256 MiB


def best_path(network: Network, emissions: np.ndarray) -> np.ndarray | None:
    """The state of each frame (F,) on the best path; None if there are too few frames for any path.

    `emissions` (F, V + 2) float32: log-probs of the net's outputs, then of a gap and of garbage. Raises InputError if
    frames and states are too many for the memory.
    """
    frames, states = len(emissions), len(network)
    if frames * states > MOST_CELLS:
        raise InputError(f"{frames} frames and {states} states of the text are too many to align at once; use `asr "
                         "align long`, which cuts recordings and their text")  # fmt: skip
    if not frames:
        return None
    scores, origins = _forward(network, emissions)
    last = max(network.final, key=lambda state: scores[-1, state])
    return _backward(network, scores, origins, last) if scores[-1, last] > -np.inf else None


def _forward(network: Network, emissions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The score of the best path to each state (F, S), and with skips the gap (F, W + 1) that each gap came from."""
    frames, states = len(emissions), len(network)
    scores = np.empty((frames, states), np.float32)
    skips = network.skip_cost is not None
    origins = np.empty((frames, len(network.gaps)), np.int32) if skips else None
    before = np.full(states + 3, -np.inf, np.float32)  # two states that are none, the states, the start
    before[-1] = 0
    sources = network.source + 2
    first = np.flatnonzero(np.diff(network.target, prepend=-1))  # edge of each target
    targets = network.target[first]
    numbers = np.arange(len(network.gaps), dtype=np.int32)
    for frame in range(frames):
        row = np.maximum(before[2:-1], before[1:-2] + network.step)
        np.maximum(row, before[:-3] + network.leap, out=row)
        entered = np.maximum.reduceat(before[sources] + network.cost, first)
        row[targets] = np.maximum(row[targets], entered)
        if origins is not None:
            own = row[network.gaps] + network.skipped
            reached = np.maximum.accumulate(own)
            origins[frame] = np.maximum.accumulate(np.where(own == reached, numbers, 0))
            row[network.gaps] = reached - network.skipped
        row += emissions[frame, network.token]
        scores[frame] = before[2:-1] = row
        before[-1] = -np.inf
    return scores, origins


def _backward(network: Network, scores: np.ndarray, origins: np.ndarray | None, state: int) -> np.ndarray:
    """The states (F,) of the best path that ends in `state`."""
    edges = np.searchsorted(network.target, np.arange(len(network) + 1))
    gap_of = {int(gap): number for number, gap in enumerate(network.gaps)}
    path = np.empty(len(scores), np.int64)
    for frame in range(len(scores) - 1, -1, -1):
        path[frame] = state
        if not frame:
            break
        if origins is not None and state in gap_of:
            state = int(network.gaps[origins[frame, gap_of[state]]])
        row = scores[frame - 1]
        best, value = state, row[state]
        for back, allowed in ((1, network.step), (2, network.leap)):
            if allowed[state] == 0 and row[state - back] > value:
                best, value = state - back, row[state - back]
        for edge in range(edges[state], edges[state + 1]):
            source = network.source[edge]
            if source != network.start and row[source] + network.cost[edge] > value:
                best, value = int(source), row[source] + network.cost[edge]
        state = best
    return path
