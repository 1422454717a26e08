"""Writing graphs in the decoder's own format, which is searched where it lies (layout: csrc/decoder/graph.h).

A packed graph is a 64-byte header, 16 bytes a state and 16 bytes an arc, little-endian; the arcs of a state stand
together, emitting ones (sorted by input label) before epsilon ones.
"""

from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pywrapfst
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import atomic_write

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("num_states", "<u4"),
        ("num_arcs", "<u4"),
        ("start", "<u4"),
        ("max_ilabel", "<i4"),
        ("max_olabel", "<i4"),
        ("num_bytes", "<u8"),
        ("is_implicit", "<u4"),
        ("reserved", "S20"),
    ]
)
STATE = np.dtype([("arc_begin", "<u4"), ("num_emitting", "<u4"), ("num_epsilon", "<u4"), ("final_cost", "<f4")])
ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("cost", "<f4"), ("next", "<i4")])

# OpenFst's ConstFst on disk: a header of names and sizes, then states, then arcs, which are laid out as ours are.
_FST_MAGIC = 2125659606
_FST_NUMBERS = np.dtype(
    [
        ("version", "<i4"),
        ("flags", "<i4"),
        ("properties", "<u8"),
        ("start", "<i8"),
        ("num_states", "<i8"),
        ("num_arcs", "<i8"),
    ]
)
_FST_STATE = np.dtype(
    [("final_cost", "<f4"), ("position", "<u4"), ("num_arcs", "<u4"), ("num_ieps", "<u4"), ("num_oeps", "<u4")]
)
_FST_IS_ALIGNED = 4  # flag: states and arcs each begin at a multiple of 16


class Arrays(NamedTuple):
    """A graph as plain arrays: S states, A arcs. A final cost of +inf marks a state that is not final."""

    start: int
    final_costs: NDArray[np.float32]  # (S,)
    sources: NDArray[np.integer]  # (A,) state that each arc leaves, ascending
    arcs: NDArray[np.void]  # (A,) of ARC


def pack(fst: pywrapfst.Fst, path: str | Path, implicit: bool = False) -> None:
    """Write `fst` (any Fst over the standard arc) as a packed graph, atomically.

    `implicit`: it is LG, to which the search adds CTC's topology; input label 1, the blank, does not occur in it.

    Raises InputError when it has no start state, a negative label or a cost that is not a finite number.
    """
    arrays = from_fst(fst)
    with atomic_write(path, "wb") as file:
        write(arrays, file, implicit)


def from_fst(fst: pywrapfst.Fst) -> Arrays:
    """The arrays of an Fst, read from the bytes of its ConstFst form."""
    if fst.arc_type() != "standard":
        raise InputError(f"the graph has arcs of type '{fst.arc_type()}'; convert it to 'standard' before packing")
    if fst.start() < 0:
        raise InputError("the graph is empty: it has no start state, so no sentence passes; check lexicon and grammar")
    if fst.input_symbols() is not None or fst.output_symbols() is not None:
        bare: Any = pywrapfst.convert(fst, "vector")  # a copy, and one that can be changed
        fst = bare.set_input_symbols(None).set_output_symbols(None)
    data = pywrapfst.convert(fst, "const").write_to_string()
    numbers, offset = _const_header(data)
    aligned = bool(numbers["flags"] & _FST_IS_ALIGNED)

    offset = _aligned(offset) if aligned else offset
    states = np.frombuffer(data, _FST_STATE, numbers["num_states"], offset)
    offset += states.nbytes
    offset = _aligned(offset) if aligned else offset
    arcs = np.frombuffer(data, ARC, numbers["num_arcs"], offset)
    sources = np.repeat(np.arange(len(states), dtype=np.int32), states["num_arcs"])
    return Arrays(int(numbers["start"]), states["final_cost"], sources, arcs)


def write(arrays: Arrays, file: IO[bytes], implicit: bool = False) -> None:
    """Write a packed graph to an open binary file, as `pack` does. Raises InputError like `pack`."""
    start, final_costs, sources, arcs = arrays
    _check(arrays)
    if implicit and (arcs["ilabel"] == 1).any():
        raise InputError("a graph for the implicit topology has an arc of input label 1, the blank; pack LG, not HLG")
    arcs = arcs[_emitting_first(sources, arcs["ilabel"])]
    is_epsilon = arcs["ilabel"] == 0
    num_arcs = np.bincount(sources, minlength=len(final_costs))
    num_epsilon = np.bincount(sources[is_epsilon], minlength=len(final_costs))

    states = np.empty(len(final_costs), STATE)
    states["arc_begin"] = np.cumsum(num_arcs) - num_arcs
    states["num_emitting"] = num_arcs - num_epsilon
    states["num_epsilon"] = num_epsilon
    states["final_cost"] = final_costs

    header = np.zeros((), HEADER)
    header["magic"] = b"asrgraph"
    header["version"] = 1
    header["num_states"], header["num_arcs"], header["start"] = len(states), len(arcs), start
    header["max_ilabel"] = arcs["ilabel"].max(initial=0)
    header["max_olabel"] = arcs["olabel"].max(initial=0)
    header["is_implicit"] = implicit
    header["num_bytes"] = HEADER.itemsize + states.nbytes + arcs.nbytes
    file.write(header.tobytes())
    file.write(states.view(np.uint8).data)
    file.write(arcs.view(np.uint8).data)


def unpack(path: str | Path) -> Arrays:
    """The arrays of a packed graph that `Graph.open` accepts."""
    data = np.fromfile(path, np.uint8)
    header = data[: HEADER.itemsize].view(HEADER)[0]
    states = data[HEADER.itemsize :][: STATE.itemsize * int(header["num_states"])].view(STATE)
    arcs = data[HEADER.itemsize + states.nbytes :].view(ARC)
    sources = np.repeat(np.arange(len(states), dtype=np.int32), states["num_emitting"] + states["num_epsilon"])
    return Arrays(int(header["start"]), states["final_cost"], sources, arcs)


def _const_header(data: bytes) -> tuple[np.void, int]:
    """The numbers in a ConstFst's header, and where the header ends."""
    if int.from_bytes(data[:4], "little") != _FST_MAGIC:
        raise InputError("pywrapfst wrote a file without OpenFst's magic number; use pynini 2.1.6 or later")
    offset = 4
    for expected in (b"const", b"standard"):
        length = int.from_bytes(data[offset : offset + 4], "little")
        name = data[offset + 4 : offset + 4 + length]
        if name != expected:
            raise InputError(f"pywrapfst wrote an Fst of kind {name!r} instead of {expected!r}")
        offset += 4 + length
    return np.frombuffer(data, _FST_NUMBERS, 1, offset)[0], offset + _FST_NUMBERS.itemsize


def _aligned(offset: int) -> int:
    return -(-offset // 16) * 16


def _emitting_first(sources: NDArray[np.integer], ilabels: NDArray[np.int32]) -> NDArray[np.integer]:
    """The order that sorts each state's arcs by input label with epsilon last, otherwise as they stand."""
    last = ilabels.astype(np.int64) - 1 & 0x7FFFFFFF  # epsilon wraps round to the end
    return np.argsort(sources.astype(np.int64) << 31 | last, kind="stable")


def _check(arrays: Arrays) -> None:
    start, final_costs, sources, arcs = arrays
    if not 0 <= start < len(final_costs):
        raise InputError(f"the graph's start state is {start} of {len(final_costs)} states")
    if len(final_costs) >= 2**31 or len(arcs) >= 2**32:
        raise InputError(f"the graph has {len(final_costs)} states and {len(arcs)} arcs; prune the language model")
    bad = (arcs["ilabel"] < 0) | (arcs["olabel"] < 0) | ~np.isfinite(arcs["cost"])
    bad |= (arcs["next"] < 0) | (arcs["next"] >= len(final_costs))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(
            f"state {sources[i]} of the graph has an arc (input, output, cost, next) = {arcs[i].item()};"
            " labels must not be negative, costs must be finite, the next state must exist"
        )
    bad_final = np.isnan(final_costs) | np.isneginf(final_costs)
    if bad_final.any():
        raise InputError(f"state {int(np.argmax(bad_final))} of the graph has a final cost that is not a number")
