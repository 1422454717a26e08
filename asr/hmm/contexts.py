"""From monophones to states in context: the frames of each state by the phones around, and trees grown from them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asr.hmm import tree
from asr.hmm.model import Hmm, number_leaves
from asr.hmm.questions import find_questions
from asr.hmm.segments import Segments, Spellings
from asr.hmm.tallies import ContextTally, tally

State = tuple[int, int]  # phone, state


def tally_contexts(
    hmm: Hmm, aligned: Iterable[tuple[NDArray[np.int32], Spellings, NDArray[np.float32]]], dim: int
) -> dict[State, ContextTally]:
    """The frames of each state by the phones before and after. `aligned`: paths (F,), the spellings of their words, and
    their features (F, D)."""
    segments = Segments(hmm)
    found: dict[State, dict[tuple[int, int], NDArray[np.float64]]] = {
        (phone, state): {} for phone, steps in enumerate(hmm.steps, 1) for state in range(len(steps) - 1)
    }
    for path, spellings, x in aligned:
        states = segments.state[path]
        for left, phone, right, begin, end in segments.of(path, spellings):
            inside = states[begin:end]
            for state in np.unique(inside).tolist():
                contexts, added = found[phone, state], tally(x[begin:end][inside == state])
                contexts[left, right] = contexts[left, right] + added if (left, right) in contexts else added
    return {
        root: ContextTally(np.array([*of], np.int64).reshape(-1, 2), np.array([*of.values()]).reshape(-1, 1 + 2 * dim))
        for root, of in found.items()
    }


def in_context(hmm: Hmm, frames: dict[State, ContextTally], leaves: int, floor: NDArray[np.float64]) -> Hmm:
    """The HMM whose states have up to `leaves` outputs, chosen by trees. Silence sounds the same in all contexts and is
    not split. `floor` (D,): least variances."""
    sizes = [len(of_phone) for of_phone in hmm.trees]
    speech = [phone for phone in range(1, len(hmm.phones)) if phone != hmm.silence_id]
    states = {phone: np.stack([frames[phone, s].total for s in range(sizes[phone - 1])]) for phone in speech}
    questions = find_questions(states, floor) + [frozenset([hmm.silence_id])] * bool(hmm.silence)
    roots = [root for root in frames if root[0] in states]
    wanted = leaves - (len(frames) - len(roots))
    grown = tree.grow([frames[root] for root in roots], questions, len(hmm.phones), wanted, floor)
    trees = dict(zip(roots, grown, strict=True))
    every = [[trees.get((phone, state), 0) for state in range(size)] for phone, size in enumerate(sizes, 1)]
    return replace(hmm, trees=number_leaves(every))


def relabelled(path: NDArray[np.int32], before: Hmm, after: Hmm, spellings: Spellings = ()) -> NDArray[np.int32]:
    """A path (F,) of one HMM with the outputs of another of the same phones and topologies. `spellings`: of its words,
    as for `Segments.of`."""
    segments = Segments(before)
    parts = [
        np.array(after.outputs(left, phone, right), np.int32)[segments.state[path[begin:end]]]
        for left, phone, right, begin, end in segments.of(path, spellings)
    ]
    return np.concatenate(parts)
