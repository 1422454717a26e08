"""HMM topologies as data: the steps between the states of a phone, with their probabilities.

A topology of S states is a matrix (S + 1, S + 1). Row 0 is the way in, row i + 1 leaves state i. Column j enters state
j, and the last column leaves the phone. Each row adds up to 1, and a frame is consumed on entering a state:

    left_to_right(2)      state 0   state 1   out
              in             1         0       0
              state 0       1/2       1/2      0
              state 1        0        1/2     1/2

The matrix is that of Rabiner 1989 ("A tutorial on hidden Markov models", eq. 7 and 8), with the initial distribution as
its first row. CTC is not such a topology: whether a blank must follow a token depends on the next token, so CTC has a
graph of its own (asr.graph.topology).
"""

import numpy as np


def left_to_right(states: int) -> np.ndarray:
    """Each state may be repeated; none is skipped. Three states are the usual phone (beginning, middle, end)."""
    steps = np.zeros((states + 1, states + 1))
    steps[0, 0] = 1
    for i in range(states):
        steps[i + 1, i] = steps[i + 1, i + 1] = 0.5
    return steps


def silence(states: int = 5) -> np.ndarray:
    """Silence, also with noises: the states between the first and the last follow each other in any order.

    Kaldi's topology (utils/gen_topo.pl): from the first state to all but the last, from the middle ones to all but the
    first, and the last repeats or leaves. With fewer than three states it is left to right.
    """
    if states < 3:
        return left_to_right(states)
    steps = np.zeros((states + 1, states + 1))
    steps[0, 0] = 1
    steps[1, : states - 1] = 1 / (states - 1)
    steps[2:states, 1:states] = 1 / (states - 1)
    steps[states, states - 1], steps[states, states] = 0.75, 0.25
    return steps


def reestimated(steps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The topology with probabilities from `counts` (S + 1, S + 1) of its steps, each counted once more than seen, so
    that no step is lost; steps of probability 0 remain so."""
    seen = np.where(steps > 0, counts + 1, 0.0)
    return seen / seen.sum(1, keepdims=True)


def count_steps(states: np.ndarray, size: int) -> np.ndarray:
    """The steps of one phone that passed these states (F,), from the way in to the way out: (S + 1, S + 1)."""
    counts = np.zeros((size + 1, size + 1))
    np.add.at(counts, (np.append(0, states + 1), np.append(states, size)), 1)
    return counts
