"""A graph as plain numpy arrays: the form that packed files and OpenFst files are read into and written from."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# One arc. OpenFst's ConstFst and the packed format (csrc/decoder/graph.h) both store arcs in this layout.
ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("cost", "<f4"), ("next", "<i4")])


class Arrays(NamedTuple):
    """A graph of S states and A arcs."""

    start: int
    final_costs: NDArray[np.float32]  # (S,), inf where the state is not final
    sources: NDArray[np.integer]  # (A,) source state of each arc, ascending
    arcs: NDArray[np.void]  # (A,) of ARC


class Block(NamedTuple):
    """S consecutive states of a graph with their A arcs."""

    final_costs: np.ndarray  # (S,) float32, inf where the state is not final
    sources: np.ndarray  # (A,) source state of each arc, ascending; 0 is the first state of the block
    ilabel: np.ndarray  # (A,) int32
    olabel: np.ndarray  # (A,) int32
    cost: np.ndarray  # (A,) float32
    target: np.ndarray  # (A,) int32, state number in the whole graph


def arc_array(ilabel: np.ndarray, olabel: np.ndarray, cost: np.ndarray, target: np.ndarray) -> NDArray[np.void]:
    """The arc columns as records: (A,) of ARC."""
    arcs = np.empty(len(ilabel), ARC)
    for name, column in zip(ARC.names or (), (ilabel, olabel, cost, target), strict=True):
        arcs[name] = column
    return arcs
