"""The probability of token sequences under CTC: the sum over all of their alignments, many sequences at once.

Where words begin with a space, a text does not tell how many spaces its alignment has between two words, before the
first and after the last: the sum is over all of them. The states of a sequence are then

    blank, [space, blank or space,] token, blank, token, blank, [space, blank or space,] token, blank, ... or space

and a space state is left after one frame, so that every alignment is counted once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.tokens import BLANK_ID


def log_sums(log_probs: NDArray[np.float32], sequences: Sequence[Sequence[int]], space: int) -> NDArray[np.float64]:
    """Log-probability (N,) of each of N token sequences, given log-probs (F, V).

    `space`: the token that may be repeated between words; 0: none. A sequence whose probability is below 1e-300 of that
    of its own most probable beginnings may lose alignments to underflow.
    """
    probs = np.exp(log_probs.astype(np.float64))
    gap = probs[:, BLANK_ID] + (probs[:, space] if space else 0.0)
    probs = np.column_stack([probs, gap, np.zeros(len(probs))])
    gap_column, none = probs.shape[1] - 2, probs.shape[1] - 1
    rows = [_states(sequence, space, gap_column) for sequence in sequences]
    width = max(len(row) for row in rows)
    emitted = np.array([row + [none] * (width - len(row)) for row in rows])
    is_space = emitted == space if space else np.zeros(emitted.shape, bool)
    stays = (~is_space).astype(np.float64)
    skips = np.zeros(emitted.shape)  # from two states before
    is_token = (emitted != BLANK_ID) & (emitted != gap_column) & (emitted != none)
    skips[:, 2:] = is_token[:, 2:] & (emitted[:, 2:] != emitted[:, :-2])

    weights = np.zeros((len(rows), width + 2))  # two states before the first, which are never reached
    weights[:, 2] = 1.0  # before the first frame: at the first blank
    total = np.zeros(len(rows))
    ends = np.array([len(row) for row in rows]) + 1  # the last state, in `weights`
    for by_token in probs:
        moved = weights[:, 1:-1] + weights[:, 2:] * stays + weights[:, :-2] * skips
        weights[:, 2:] = moved * by_token[emitted]
        scale = weights.max(1)
        scale[scale == 0] = 1.0
        weights /= scale[:, None]
        total += np.log(scale)
    at = np.arange(len(rows))
    final = weights[at, ends] + np.where(ends > 2, weights[at, ends - 1], 0.0)
    with np.errstate(divide="ignore"):
        return total + np.log(final)


def _states(sequence: Sequence[int], space: int, gap: int) -> list[int]:
    """The column that each state emits."""
    outside = gap if space else BLANK_ID
    states = [outside]
    for token in sequence:
        states += [token, outside if token == space and space else BLANK_ID]
    states[-1] = outside
    return states
